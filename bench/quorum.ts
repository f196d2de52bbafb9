/**
 * What OUTBOX_INSERT_QUORUM costs on a real cluster: batches of two sizes with `auto` and without, in turns. Only the ratios can be
 * compared with those of another machine. test/cluster/README.md says what the cluster answers.
 *
 *   OUTBOX_TEST_CLUSTER=http://127.0.0.1:42100 npm run bench:quorum -- [--pairs 3] [--batches 12]
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpus } from 'node:os';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { createClient } from '@clickhouse/client';
import { migrateClickHouse } from '../src/streamer/commands/migrate-clickhouse.ts';
import { Source } from './source.ts';

const CLI = new URL('../packages/streamer/dist/streamer/commands/cli.js', import.meta.url).pathname;
const CLUSTER = 'c';
const DATABASE = 'bench_quorum';
const SIZES = [1000, 50_000];

const { values } = parseArgs({
  options: { pairs: { type: 'string', default: '3' }, batches: { type: 'string', default: '12' } },
});
const [pairs, batches] = [Number(values.pairs), Number(values.batches)];
const control = process.env['OUTBOX_TEST_CLUSTER'];
if (control === undefined) throw new Error('OUTBOX_TEST_CLUSTER must be the control address of a cluster');
const nodes = (await (await fetch(control)).json()) as { url: string; shard: number }[];
const server = new URL(nodes[0]!.url);
Object.assign(server, { username: 'outbox', password: 'outbox', pathname: `/${DATABASE}` });
const replicas = nodes.filter(({ shard }) => shard === 1).length;

const client = createClient({ url: Object.assign(new URL(server), { pathname: '' }).href });
await client.command({ query: `CREATE DATABASE IF NOT EXISTS ${DATABASE} ON CLUSTER ${CLUSTER}` });
try {
  await using source = await Source.start();
  console.log(`${cpus().length} × ${cpus()[0]?.model}; ${replicas} replicas; events of 300 bytes; ms of a batch\n`);
  console.log(['rows', 'off', 'auto', 'ratio'].map((name) => name.padStart(9)).join(''));
  for (const rows of SIZES)
    for (let pair = 0; pair < pairs; pair++) {
      // who comes second finds warmer caches
      const order = pair % 2 === 0 ? (['off', 'auto'] as const) : (['auto', 'off'] as const);
      const ms = { off: 0, auto: 0 };
      for (const quorum of order) ms[quorum] = await measure(source, rows, quorum);
      const cells = [rows, ms.off.toFixed(0), ms.auto.toFixed(0), `${(ms.auto / ms.off).toFixed(1)} ×`];
      console.log(cells.map((cell) => String(cell).padStart(9)).join(''));
    }
} finally {
  await client.command({ query: `DROP DATABASE ${DATABASE} ON CLUSTER ${CLUSTER} SYNC` });
  await client.close();
}

/** The median time of a full batch, from its intent until it is settled. */
async function measure(source: Source, rows: number, quorum: 'off' | 'auto'): Promise<number> {
  const slot = await source.addSlot();
  const table = `events_${slot}`;
  await migrateClickHouse(server.href, { table, cluster: CLUSTER }, () => undefined);
  await source.addBacklog({ events: rows * batches, perTransaction: 100, bytes: 300 });
  const streamer = spawn(process.execPath, [CLI, 'run'], {
    env: {
      DATABASE_URL: source.url,
      CLICKHOUSE_URL: server.href,
      OUTBOX_SLOT: slot,
      OUTBOX_CLICKHOUSE_TABLE: table,
      OUTBOX_CLICKHOUSE_CLUSTER: CLUSTER,
      OUTBOX_INSERT_QUORUM: quorum,
      OUTBOX_BATCH_MAX_ROWS: String(rows),
      OUTBOX_HEALTH_PORT: '0',
      LOG_LEVEL: 'debug',
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const times: number[] = [];
  let left = rows * batches;
  for await (const line of createInterface(streamer.stdout)) {
    const { msg, ms, rows: delivered } = JSON.parse(line) as { msg: string; ms: number; rows: number };
    if (msg !== 'batch delivered') continue;
    if (delivered === rows) times.push(ms);
    left -= delivered;
    if (left === 0) break;
  }
  streamer.kill('SIGKILL');
  await once(streamer, 'exit');
  await source.dropSlot(slot);
  return times.toSorted((a, b) => a - b)[times.length >> 1] ?? NaN;
}
