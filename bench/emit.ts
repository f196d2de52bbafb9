/**
 * What an event costs the application. Compares a transaction with `emitEvent`, one with a bare INSERT of the same row, one
 * without an event, and one with an insert into ClickHouse after the commit. Requests take turns. Then repeats them while
 * ClickHouse is down. Real servers with fsync on.
 *
 *   npm run bench:emit -- [--requests 2000]
 *
 * Exits with 1 if `emitEvent` costs more than 1.05 times the bare INSERT.
 */
import { parseArgs } from 'node:util';
import { createClient, ClickHouseLogLevel } from '@clickhouse/client';
import { number, quantile, row } from './figures.ts';
import { cpuMicroseconds, many } from './emit/library.ts';
import { BARE, DIRECT, EMIT, variantsOf, type Variant } from './emit/variants.ts';
import { machine } from './machine.ts';
import { Servers } from './servers.ts';

const MOST = 1.05;
const WARM_UP = 50;
/** Events per call, and the number of calls. */
const CALLS = [
  { count: 1, times: 200 },
  { count: 10, times: 200 },
  { count: 1000, times: 30 },
  { count: 50_000, times: 5 },
];

const { values } = parseArgs({ options: { requests: { type: 'string', default: '2000' } } });
const requests = Number(values.requests);

await using servers = await Servers.start();
const { source, warehouse } = servers;
const { db } = source;
await db.query(
  'CREATE SCHEMA shop; CREATE TABLE shop.order (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer text, amount int)',
);
// with the client's defaults, as in an application
const clickhouse = createClient({ url: warehouse.url, log: { level: ClickHouseLogLevel.OFF } });
const variants = variantsOf(db, clickhouse);
for (const [what, which] of Object.entries(await machine(source, warehouse))) console.log(`${what.padEnd(25)}${which}`);

let isMet = true;
for (const commit of ['on', 'off']) {
  await db.query(`SET synchronous_commit = ${commit}`);
  const took = await takeTurns();
  const bare = quantile(ascending(took.get(BARE)!), 0.5);
  console.log(`\n== ${number(requests)} requests each, synchronous_commit = ${commit}`);
  console.log(row('', ['p50 ms', 'p99 ms', 'p50 / bare']));
  for (const [name, ms] of took) {
    const sorted = ascending(ms);
    const ratio = quantile(sorted, 0.5) / bare;
    console.log(row(name, [number(quantile(sorted, 0.5), 3), number(quantile(sorted, 0.99), 3), number(ratio, 3)]));
    // judged where every commit is flushed, which is the default of Postgres
    if (name === EMIT && commit === 'on') isMet = ratio <= MOST;
  }
}
await db.query('RESET synchronous_commit');
console.log(
  `\n${isMet ? 'met' : 'NOT MET'}: emitEvent costs at most ${MOST} times the bare INSERT, with every commit flushed`,
);

const cpu = await cpuMicroseconds();
console.log(`\n== the library’s own CPU, nothing sent`);
console.log(
  `emitEvent ${number(cpu.emit, 2)} µs per event; the same row built by hand ${number(cpu.bare, 2)} µs; difference ${number(cpu.emit - cpu.bare, 2)} µs`,
);

console.log(`\n== emitEvents in one call\n${row('events', ['ms', 'µs per event', 'round trips'])}`);
for (const { count, times } of CALLS) {
  const { ms, roundTrips } = await many(db, count, times);
  console.log(row(number(count), [number(ms, 2), number((ms * 1000) / count, 1), String(roundTrips)]));
}

console.log(`\n== ClickHouse down\n${row('', ['killed, ms', 'frozen, ms'])}  what the request saw`);
for (const variant of variants) {
  await warehouse.server.kill();
  const killed = await tried(variant);
  await warehouse.server.start();
  await clickhouse.ping();
  warehouse.server.pause();
  const frozen = await tried(variant);
  warehouse.server.resume();
  const saw =
    killed.error === undefined
      ? 'nothing'
      : `${killed.error}; ${frozen.error}: the order is stored, the event is lost or its outcome unknown`;
  console.log(`${row(variant.name, [number(killed.ms, 1), number(frozen.ms, 1)])}  ${saw}`);
}
await clickhouse.close();
process.exitCode = isMet ? 0 : 1;

/**
 * ms of every request of each variant. The variants that use only Postgres take turns in random order, because a request
 * affects the one after it. The insert into ClickHouse comes last, because ClickHouse goes on merging after an insert.
 */
async function takeTurns(): Promise<Map<string, number[]>> {
  const took = new Map<string, number[]>(variants.map(({ name }) => [name, []]));
  const direct = variants.filter(({ name }) => name === DIRECT);
  for (const group of [variants.filter((variant) => !direct.includes(variant)), direct]) {
    for (let turn = -WARM_UP; turn < requests; turn++) {
      for (const { name, request } of shuffled(group)) {
        const began = performance.now();
        await request(turn + WARM_UP);
        if (turn >= 0) took.get(name)!.push(performance.now() - began);
      }
    }
  }
  return took;
}

function shuffled<T>(items: readonly T[]): T[] {
  return items
    .map((item) => ({ item, at: Math.random() }))
    .toSorted((a, b) => a.at - b.at)
    .map(({ item }) => item);
}

function ascending(ms: readonly number[]): number[] {
  return ms.toSorted((a, b) => a - b);
}

async function tried({ request }: Variant): Promise<{ ms: number; error: string | undefined }> {
  const began = performance.now();
  let error: string | undefined;
  try {
    await request(1);
  } catch (thrown) {
    const { code, message } = thrown as { code?: string; message: string };
    error = code ?? message;
  }
  return { ms: performance.now() - began, error };
}
