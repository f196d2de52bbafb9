/**
 * How fast a backlog is delivered, what it costs, and how much memory the streamer takes: events wait in the slot, the
 * streamer starts, and the clock runs from its attaching until the last row can be queried. Real servers with fsync on.
 *
 *   npm run bench -- [--events 1000000] [--repeat 3] [--scenario name]
 */
import { cpus } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import type { EmbeddedClickHouse } from '../src/embedded/clickhouse.ts';
import { cpuSeconds, memory } from './processes.ts';
import { Servers } from './servers.ts';

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
  await using servers = await Servers.start();
  const { db, clickhouse } = servers;
  if (scenario.textOnly) await servers.table.command({ query: 'ALTER TABLE events DROP COLUMN event_context' });
  await servers.prepareFill();
  // committed without waiting for the disk: only the streamer is measured
  await db.query('SET synchronous_commit = off');
  const perTransaction = scenario.perTransaction(events);
  await db.query(`CALL fill(${events / perTransaction}, ${perTransaction})`);

  const streamer = await servers.stream();
  try {
    const began = performance.now();
    const { rows } = await db.query<{ active_pid: number }>('SELECT active_pid FROM pg_replication_slots');
    const walsender = rows[0]!.active_pid;
    const before = { walsender: cpuSeconds(walsender), clickhouse: cpuSeconds(clickhouse.pid) };
    let stalled = 0;
    for (;;) {
      const delivered = await servers.count();
      if (delivered >= events) break;
      if (scenario.stall && stalled === 0 && delivered > events / 3) stalled = await stall(clickhouse);
      await sleep(50);
    }
    const seconds = (performance.now() - began - stalled) / 1000;
    const inserts = await servers.inserts();
    return {
      rowsPerSecond: events / seconds,
      streamerCpu: cpuSeconds(streamer.pid),
      walsenderCpu: cpuSeconds(walsender) - before.walsender,
      clickhouseCpu: cpuSeconds(clickhouse.pid) - before.clickhouse,
      peakMb: memory(streamer.pid).peakMb,
      inserts: inserts.length,
    };
  } finally {
    await streamer.end('SIGTERM');
  }
}

async function stall(clickhouse: EmbeddedClickHouse): Promise<number> {
  clickhouse.pause();
  await sleep(STALL_MS);
  clickhouse.resume();
  return STALL_MS;
}
