/*
 * A process for the tests to kill, or to run under another account: node scenario.fixture.ts
 * (postgres|clickhouse|streamer) [directory]. Starts the service, prints one line of JSON, and stays until its stdin ends.
 */
import { once } from 'node:events';
import { dirname } from 'node:path';
import { startClickHouse } from './clickhouse.ts';
import { startPostgres } from './postgres.ts';
import { startServices } from './services.ts';

const [service, directory] = process.argv.slice(2);
const options = directory === undefined ? {} : { directory };
const server = await start();
process.stdout.write(`${JSON.stringify({ url: server.url, pid: server.pid, directory: server.directory })}\n`);
process.stdin.resume();
await once(process.stdin, 'end');
await server.dispose();

async function start() {
  if (service === 'postgres') return startPostgres(options);
  if (service === 'clickhouse') return startClickHouse(options);
  const services = await startServices();
  const { postgres, streamer } = services;
  return {
    url: postgres.url,
    pid: streamer.pid,
    directory: dirname(streamer.log),
    dispose: () => services.dispose(),
  };
}
