/*
 * A process for the tests to kill, or to run under another account: node scenario.fixture.ts (postgres|clickhouse)
 * [directory]. Starts the service, prints one line of JSON, and stays until its stdin ends.
 */
import { once } from 'node:events';
import { startClickHouse } from './clickhouse.ts';
import { startPostgres } from './postgres.ts';

const [service, directory] = process.argv.slice(2);
const options = directory === undefined ? {} : { directory };
const server = service === 'postgres' ? await startPostgres(options) : await startClickHouse(options);
process.stdout.write(`${JSON.stringify({ url: server.url, pid: server.pid, directory: server.directory })}\n`);
process.stdin.resume();
await once(process.stdin, 'end');
await server.dispose();
