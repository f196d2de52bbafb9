/**
 * What shares bring: the same backlog by 1, 2 and 4 slots, each with a streamer and a table of its own. Beside the time it tells the CPU
 * of the busiest process of each kind, which is what bounds the rate where there are cores enough.
 *
 *   npm run bench:shares -- [--events 300000]
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { cpus } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { createClient } from '@clickhouse/client';
import { startClickHouse } from '../src/embedded/clickhouse.ts';
import { migrateClickHouse } from '../src/streamer/commands/migrate-clickhouse.ts';
import { migratePostgres } from '../src/streamer/commands/migrate-postgres.ts';
import { slotsOf } from '../src/streamer/share.ts';
import { cpuSeconds } from './processes.ts';
import { Source } from './source.ts';

const CLI = new URL('../packages/streamer/dist/streamer/commands/cli.js', import.meta.url).pathname;
const POLL_MS = 20;

const { values } = parseArgs({ options: { events: { type: 'string', default: '300000' } } });
const events = Number(values.events);

console.log(`${cpus().length} × ${cpus()[0]?.model}; Node ${process.version}; ${events} events of 1 kB\n`);
const head = ['slots', 'events/s', 'of one slot', 'walsender s', 'streamer s', 'ClickHouse s', 'all CPU s'];
console.log(head.map((name) => name.padStart(13)).join(''));
let single = 0;
for (const count of [1, 2, 4]) {
  const { seconds, walsender, streamer, clickhouse, all } = await measure(count);
  const rate = events / seconds;
  single ||= rate;
  const cells = [String(count), rate.toFixed(0), `${(rate / single).toFixed(2)} ×`];
  const cpu = [walsender, streamer, clickhouse, all].map((figure) => figure.toFixed(1));
  console.log([...cells, ...cpu].map((cell) => cell.padStart(13)).join(''));
}

interface Measured {
  readonly seconds: number;
  /** CPU seconds of the busiest of them. */
  readonly walsender: number;
  readonly streamer: number;
  readonly clickhouse: number;
  /** Of all processes that deliver. */
  readonly all: number;
}

async function measure(count: number): Promise<Measured> {
  await using source = await Source.start();
  await using server = await startClickHouse();
  const table = createClient({ url: server.url });
  const slots = slotsOf('bench', count);
  await migratePostgres(source.url, slots[0]!, () => undefined);
  for (const slot of slots) await migrateClickHouse(server.url, { table: `events_${slot}` }, () => undefined);
  await source.addBacklog({ events, perTransaction: 10, bytes: 1000 });
  const before = cpuSeconds(server.pid);
  const began = performance.now();
  const streamers = slots.map((slot, index) => start(source.url, server.url, slot, index, count));
  const walsenders: number[] = [];
  for (const slot of slots) walsenders.push(await source.walsender(slot));
  const delivered = async (): Promise<number> => {
    const result = await table.query({
      query: `SELECT count() AS n FROM merge(currentDatabase(), '^events_bench')`,
      format: 'JSONEachRow',
    });
    return Number((await result.json<{ n: string }>())[0]!.n);
  };
  while ((await delivered()) < events) await sleep(POLL_MS);
  const seconds = (performance.now() - began) / 1000;
  const ofPostgres = walsenders.map(cpuSeconds);
  const ofStreamers = streamers.map(({ pid }) => cpuSeconds(pid!));
  const clickhouse = cpuSeconds(server.pid) - before;
  await Promise.all(streamers.map(end));
  await table.close();
  return {
    seconds,
    walsender: Math.max(...ofPostgres),
    streamer: Math.max(...ofStreamers),
    clickhouse,
    all: [...ofPostgres, ...ofStreamers, clickhouse].reduce((sum, one) => sum + one, 0),
  };
}

function start(databaseUrl: string, clickhouseUrl: string, slot: string, index: number, count: number): ChildProcess {
  return spawn(process.execPath, [CLI, 'run'], {
    env: {
      DATABASE_URL: databaseUrl,
      CLICKHOUSE_URL: clickhouseUrl,
      OUTBOX_SLOT: 'bench',
      OUTBOX_SHARD: count === 1 ? '' : `${index + 1}/${count}`,
      OUTBOX_CLICKHOUSE_TABLE: `events_${slot}`,
      OUTBOX_HEALTH_PORT: '0',
      LOG_LEVEL: 'warn',
    },
    stdio: ['ignore', 'inherit', 'inherit'],
  });
}

async function end(streamer: ChildProcess): Promise<void> {
  streamer.kill('SIGKILL');
  await once(streamer, 'exit');
}
