/**
 * How fast a backlog is delivered, what it costs, and how much memory the streamer takes: events wait in the slot, the
 * streamer starts, and the clock runs from its attaching until the last row can be queried. Real servers with fsync on.
 *
 *   npm run bench -- [--events 1000000] [--repeat 3] [--scenario name]
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpus } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { createClient } from '@clickhouse/client';
import { Client } from 'pg';
import { startClickHouse } from '../src/embedded/clickhouse.ts';
import type { EmbeddedClickHouse } from '../src/embedded/clickhouse.ts';
import { startPostgres } from '../src/embedded/postgres.ts';
import { migrateClickHouse, migratePostgres } from '../src/streamer/operations/migrate.ts';
import { cpuSeconds, logged, peakMegabytes } from './processes.ts';

const CLI = new URL('../dist/streamer/cli.js', import.meta.url).pathname;
const STALL_MS = 60_000;

interface Scenario {
  readonly name: string;
  readonly perTransaction: (events: number) => number;
  readonly stall?: boolean;
  /** The JSON is typed by the table unless it is taken from it. */
  readonly textOnly?: boolean;
}

const SCENARIOS: readonly Scenario[] = [
  { name: '100 a transaction', perTransaction: () => 100 },
  { name: 'one transaction', perTransaction: (events) => events },
  { name: 'text only', perTransaction: () => 100, textOnly: true },
  { name: 'ClickHouse stalled for 60 s', perTransaction: () => 100, stall: true },
];

interface Figures {
  readonly rowsPerSecond: number;
  readonly streamerCpu: number;
  readonly walsenderCpu: number;
  readonly clickhouseCpu: number;
  readonly peakMb: number;
  readonly inserts: number;
}

const { values } = parseArgs({
  options: {
    events: { type: 'string', default: '1000000' },
    repeat: { type: 'string', default: '3' },
    scenario: { type: 'string' },
  },
});
const events = Number(values.events);
const chosen = SCENARIOS.filter(({ name }) => values.scenario === undefined || name === values.scenario);

console.log(
  `${events.toLocaleString('en-US')} events waiting, contexts of about 320 bytes; ${cpus().length} × ${cpus()[0]?.model}; Node ${process.version}\n`,
);
console.log(
  `${'scenario'.padEnd(30)}${['rows/s', 'streamer s', 'walsender s', 'ClickHouse s', 'peak MB', 'inserts'].map((head) => head.padStart(14)).join('')}`,
);
for (let run = 0; run < Number(values.repeat); run++) {
  for (const scenario of chosen) {
    const f = await measure(scenario);
    const cells = [
      Math.round(f.rowsPerSecond).toLocaleString('en-US'),
      f.streamerCpu.toFixed(2),
      f.walsenderCpu.toFixed(2),
      f.clickhouseCpu.toFixed(2),
      f.peakMb.toFixed(0),
      String(f.inserts),
    ];
    console.log(`${scenario.name.padEnd(30)}${cells.map((cell) => cell.padStart(14)).join('')}`);
  }
}

async function measure(scenario: Scenario): Promise<Figures> {
  await using postgres = await startPostgres({ settings: { max_wal_size: '8GB' } });
  await using clickhouse = await startClickHouse();
  await migratePostgres(postgres.url, 'outbox', () => undefined);
  await migrateClickHouse(clickhouse.url, 'events', () => undefined);
  const db = new Client(postgres.url);
  await db.connect();
  const table = createClient({ url: clickhouse.url });
  if (scenario.textOnly) await table.command({ query: 'ALTER TABLE events DROP COLUMN event_context' });
  await fill(db, scenario.perTransaction(events));

  const streamer = spawn(process.execPath, [CLI, 'run'], {
    env: { DATABASE_URL: postgres.url, CLICKHOUSE_URL: clickhouse.url, OUTBOX_HEALTH_PORT: '0' },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const pid = streamer.pid!;
  try {
    await logged(streamer, 'attached');
    const began = performance.now();
    const { rows } = await db.query<{ active_pid: number }>('SELECT active_pid FROM pg_replication_slots');
    const walsender = rows[0]!.active_pid;
    const before = { walsender: cpuSeconds(walsender), clickhouse: cpuSeconds(clickhouse.pid) };
    let stalled = 0;
    for (;;) {
      const delivered = await count(table);
      if (delivered >= events) break;
      if (scenario.stall && stalled === 0 && delivered > events / 3) stalled = await stall(clickhouse);
      await sleep(50);
    }
    const seconds = (performance.now() - began - stalled) / 1000;
    const [inserts] = await (
      await table.query({ query: 'SELECT uniqExact(delivered_at) AS n FROM events', format: 'JSONEachRow' })
    ).json<{ n: string }>();
    return {
      rowsPerSecond: events / seconds,
      streamerCpu: cpuSeconds(pid),
      walsenderCpu: cpuSeconds(walsender) - before.walsender,
      clickhouseCpu: cpuSeconds(clickhouse.pid) - before.clickhouse,
      peakMb: peakMegabytes(pid),
      inserts: Number(inserts!.n),
    };
  } finally {
    streamer.kill('SIGTERM');
    await once(streamer, 'exit');
    await db.end();
    await table.close();
  }
}

async function stall(clickhouse: EmbeddedClickHouse): Promise<number> {
  clickhouse.pause();
  await sleep(STALL_MS);
  clickhouse.resume();
  return STALL_MS;
}

async function count(table: ReturnType<typeof createClient>): Promise<number> {
  const rows = await (
    await table.query({ query: 'SELECT count() AS n FROM events', format: 'JSONEachRow' })
  ).json<{ n: string }>();
  return Number(rows[0]!.n);
}

/** Committed without waiting for the disk: only the streamer is measured. */
async function fill(db: Client, perTransaction: number): Promise<void> {
  await db.query('SET synchronous_commit = off');
  await db.query(`
    CREATE PROCEDURE fill(transactions int, size int) LANGUAGE plpgsql AS $$
    BEGIN
      FOR t IN 1..transactions LOOP
        INSERT INTO outbox.event (event_type, environment, event_context, traceparent)
        SELECT 'order.' || (i % 12), 'production',
               json_build_object('orderId', t * size + i, 'customer', 'c-' || (i::bigint * 7919 % 100000), 'amount', (i % 1000) / 10.0,
                                 'currency', 'EUR', 'items', i % 7, 'note', repeat('x', 150), 'nested', json_build_object('a', i, 'b', 'text', 'c', true)),
               '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
          FROM generate_series(1, size) i;
        COMMIT;
      END LOOP;
    END $$`);
  await db.query(`CALL fill(${events / perTransaction}, ${perTransaction})`);
}
