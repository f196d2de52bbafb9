/** Sends recorded bodies to ClickHouse with the streamer's own client. */
import { ClickHouse } from '../../src/streamer/clickhouse/client.ts';
import { post } from '../bodies.ts';
import { given, say } from '../worker.ts';

const clickhouse = new ClickHouse(given('CLICKHOUSE_URL'), 60_000);
say('attached');
await post(clickhouse, given('DIRECTORY'));
await clickhouse.close();
say('done');
setInterval(() => undefined, 60_000);
