/**
 * How long events wait when a streamer dies while another stands by. Measures from the fault until an event that was emitted
 * right after it can be queried in ClickHouse. All settings are the defaults.
 *
 *   npm run bench:takeover -- [--repeat 20]
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { cpus } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { createClient } from '@clickhouse/client';
import { Client } from 'pg';
import { startClickHouse } from '../src/embedded/clickhouse.ts';
import { startPostgres } from '../src/embedded/postgres.ts';
import { migratePostgres } from '../src/streamer/commands/migrate-postgres.ts';
import { migrateClickHouse } from '../src/streamer/commands/migrate-clickhouse.ts';
import { Proxy } from '../test/support/proxy.ts';
import { logged } from './processes.ts';

const CLI = new URL('../packages/streamer/dist/streamer/commands/cli.js', import.meta.url).pathname;
/** A standby checks twice a second, so a fault comes at a random moment within this time. */
const PHASES_MS = 1000;
const POLL_MS = 10;

const { values } = parseArgs({ options: { repeat: { type: 'string', default: '20' } } });
const repeat = Number(values.repeat);

await using postgres = await startPostgres();
await using clickhouse = await startClickHouse();
await migratePostgres(postgres.url, 'outbox', () => undefined);
await migrateClickHouse(clickhouse.url, { table: 'events' }, () => undefined);
const db = new Client(postgres.url);
await db.connect();
const table = createClient({ url: clickhouse.url });

console.log(`${cpus().length} × ${cpus()[0]?.model}; Node ${process.version}; ${repeat} times each\n`);
console.log(`${'fault'.padEnd(30)}${['min s', 'median s', 'max s'].map((head) => head.padStart(10)).join('')}`);
const faults: { name: string; strike: (holder: ChildProcess, proxy: Proxy) => void }[] = [
  { name: 'kill -9', strike: (holder) => void holder.kill('SIGKILL') },
  {
    name: 'network cut to Postgres',
    strike: (_, proxy) => {
      proxy.holdRequests();
      proxy.holdAnswers();
    },
  },
];
for (const { name, strike } of faults) {
  const seconds: number[] = [];
  for (let run = 0; run < repeat; run++) seconds.push(await measure(strike));
  seconds.sort((a, b) => a - b);
  const cells = [seconds[0]!, median(seconds), seconds.at(-1)!].map((figure) => figure.toFixed(2).padStart(10));
  console.log(`${name.padEnd(30)}${cells.join('')}`);
}
await db.end();
await table.close();

async function measure(strike: (holder: ChildProcess, proxy: Proxy) => void): Promise<number> {
  const { proxy, url } = await Proxy.to(new URL(postgres.url));
  const streamers: ChildProcess[] = [];
  try {
    const holder = start(url);
    streamers.push(holder);
    await logged(holder, 'attached');
    const standby = start(postgres.url);
    streamers.push(standby);
    await logged(standby, 'standing by');
    await untilDelivered(await emit());
    await sleep(Math.random() * PHASES_MS);
    const struckAt = performance.now();
    strike(holder, proxy);
    await untilDelivered(await emit());
    return (performance.now() - struckAt) / 1000;
  } finally {
    await proxy.close();
    await Promise.all(streamers.map(end));
    while ((await db.query('SELECT FROM pg_replication_slots WHERE active')).rowCount !== 0) await sleep(POLL_MS);
  }
}

function start(databaseUrl: string): ChildProcess {
  return spawn(process.execPath, [CLI, 'run'], {
    env: { DATABASE_URL: databaseUrl, CLICKHOUSE_URL: clickhouse.url, OUTBOX_HEALTH_PORT: '0' },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
}

async function end(streamer: ChildProcess): Promise<void> {
  if (streamer.exitCode !== null || streamer.signalCode !== null) return;
  streamer.kill('SIGKILL');
  await once(streamer, 'exit');
}

/** Commits one event and returns its id. */
async function emit(): Promise<string> {
  const { rows } = await db.query<{ id: string }>(
    `INSERT INTO outbox.event (event_type, event_context) VALUES ('bench.takeover', '{}') RETURNING event_id AS id`,
  );
  return rows[0]!.id;
}

async function untilDelivered(id: string): Promise<void> {
  for (;;) {
    const result = await table.query({
      query: 'SELECT count() AS n FROM events WHERE event_id = {id:UUID}',
      query_params: { id },
      format: 'JSONEachRow',
    });
    const [found] = await result.json<{ n: string }>();
    if (Number(found!.n) === 1) return;
    await sleep(POLL_MS);
  }
}

function median(sorted: readonly number[]): number {
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
