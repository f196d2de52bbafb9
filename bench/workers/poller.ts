/** Makes ClickHouse fetch the new rows of `peer.event`, by its identity column, once a second. */
import { setTimeout as sleep } from 'node:timers/promises';
import { ClickHouseLogLevel, createClient } from '@clickhouse/client';
import { given, say } from '../worker.ts';

const EVERY_MS = 1000;

const { host, pathname, username, password } = new URL(given('POSTGRES_URL'));
const clickhouse = createClient({
  url: given('CLICKHOUSE_URL'),
  request_timeout: 600_000,
  log: { level: ClickHouseLogLevel.OFF },
});
say('attached');
for (;;) {
  const result = await clickhouse.query({ query: 'SELECT max(id) AS id FROM events', format: 'JSONEachRow' });
  const [last] = await result.json<{ id: string }>();
  await clickhouse.command({
    query: `INSERT INTO events (id, event_type, event_date_time, environment, event_context_text, metadata_version, event_id, committed_at)
            SELECT id, event_type, event_date_time, environment, event_context, metadata_version, event_id, recorded_at
              FROM postgresql('${host}', '${pathname.slice(1)}', 'event', '${username}', '${password}', 'peer')
             WHERE id > ${last!.id}`,
  });
  await sleep(EVERY_MS);
}
