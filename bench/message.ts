/**
 * Would an outbox without a table pay? The INSERT of an event beside `pg_logical_emit_message` with the same fields: what
 * it costs the application's transaction, and what it costs to read. They take turns, against a real server with fsync on.
 *
 *   npm run bench:message -- [--repeat 5] [--requests 2000] [--events 500000]
 *
 * Medians. CPU is in seconds per 1M events; that of Postgres is of all its processes, the writing of dirty pages among it.
 */
import { parseArgs } from 'node:util';
import type { Turn } from './contestant.ts';
import { MESSAGES_PACED, WALSENDER_PACED } from './contestants/walsender.ts';
import { number, perMillion, quantile, row, spreadOf } from './figures.ts';
import { BATCHED, INSERT, rowOf, SINGLE, TELL } from './message/ways.ts';
import type { Way } from './message/ways.ts';
import { Meter } from './meter.ts';
import { Source } from './source.ts';

const BATCH = 100;
const WARM_UP = 50;

const { values } = parseArgs({
  options: {
    repeat: { type: 'string', default: '5' },
    requests: { type: 'string', default: '2000' },
    events: { type: 'string', default: '500000' },
  },
});
const [repeat, requests, events] = [Number(values.repeat), Number(values.requests), Number(values.events)];

/** What one repetition of one way showed, by the heads of the table's columns. */
type Costs = Readonly<Record<string, number>>;
/** Digits behind the point. */
const EMIT_COLUMNS = { 'p50 ms': 3, 'p99 ms': 3, 'Postgres CPU': 1, 'WAL bytes': 0, 'heap bytes': 0 };
const READ_COLUMNS = { 'rows/s': 0, 'walsender CPU': 2, 'reader CPU': 2 };

await emit();
await read(BATCH);
await read(1);

async function emit(): Promise<void> {
  await using source = await Source.start();
  await source.db.query(
    'CREATE SCHEMA shop; CREATE TABLE shop.order (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer text, amount int)',
  );
  for (const { size, times, ways } of [
    { size: 1, times: requests, ways: SINGLE },
    { size: BATCH, times: Math.ceil(requests / 4), ways: BATCHED },
  ]) {
    const seen = new Map<string, Costs[]>();
    for (let repetition = 0; repetition < repeat; repetition++) {
      for (const [{ name }, ms] of await takeTurns(source, times, size, ways)) {
        const sorted = ms.toSorted((a, b) => a - b);
        add(seen, name, { 'p50 ms': quantile(sorted, 0.5), 'p99 ms': quantile(sorted, 0.99) });
      }
      for (const way of ways) {
        await source.empty();
        add(seen, way.name, await consume(source, times, size, way));
        if (way.name === INSERT) add(seen, 'VACUUM of the INSERT’s rows, later', await vacuum(source));
      }
    }
    print(`emit: an order and ${number(size)} of them a transaction, per event`, EMIT_COLUMNS, seen);
  }
}

/** ms of every request of each way, one of each after the other: what else the machine does meets them all. */
async function takeTurns(
  source: Source,
  times: number,
  size: number,
  ways: readonly Way[],
): Promise<Map<Way, number[]>> {
  const took = new Map<Way, number[]>(ways.map((way) => [way, []]));
  for (let turn = -WARM_UP; turn < times; turn++) {
    for (const [way, all] of took) {
      const ms = await request(source, turn + WARM_UP, size, way);
      if (turn >= 0) all.push(ms);
    }
  }
  return took;
}

/** ms of one transaction. */
async function request({ db }: Source, i: number, size: number, { statement }: Way): Promise<number> {
  const rows = Array.from({ length: size }, (_, n) => rowOf(i * size + n));
  const began = performance.now();
  await db.query('BEGIN');
  await db.query('INSERT INTO shop.order (customer, amount) VALUES ($1, $2)', [`c-${i % 1000}`, i % 500]);
  if (statement !== undefined) await db.query(statement(rows));
  await db.query('COMMIT');
  return performance.now() - began;
}

/** What one way alone takes of CPU and disk. No commit waits for the disk: flushes cost every way the same, and are noise. */
async function consume(source: Source, times: number, size: number, way: Way): Promise<Costs> {
  await source.db.query('SET synchronous_commit = off');
  for (let i = 0; i < WARM_UP; i++) await request(source, i, size, way);
  await source.db.query('CHECKPOINT');
  const before = await written(source);
  using meter = await Meter.begin(source.pid);
  for (let i = 0; i < times; i++) await request(source, i, size, way);
  const after = await written(source);
  await source.db.query('CHECKPOINT');
  const { cpu } = await meter.read();
  await source.db.query('RESET synchronous_commit');
  const made = times * size;
  return {
    'Postgres CPU': perMillion(cpu.Postgres, made)!,
    'WAL bytes': (after.wal - before.wal) / made,
    'heap bytes': (after.heap - before.heap) / made,
  };
}

/** What autovacuum, which is off here, does to rows that were only inserted, once a checkpoint has passed. */
async function vacuum(source: Source): Promise<Costs> {
  const before = await written(source);
  using meter = await Meter.begin(source.pid);
  await source.db.query('VACUUM outbox.event');
  const { cpu } = await meter.read();
  const wal = (await written(source)).wal - before.wal;
  const { rows } = await source.db.query<{ made: number }>('SELECT count(*)::float8 AS made FROM outbox.event');
  const { made } = rows[0]!;
  return { 'Postgres CPU': perMillion(cpu.Postgres, made)!, 'WAL bytes': wal / made };
}

/** The same events as rows and as messages. A slot for each repetition of each is there before its backlog. */
async function read(perTransaction: number): Promise<void> {
  await using source = await Source.start();
  await using turns = new AsyncDisposableStack();
  await source.db.query(TELL);
  const shape = { events, perTransaction, bytes: 300 };
  const tell = async (perMessage: number): Promise<void> => {
    await source.db.query('SET synchronous_commit = off');
    await source.db.query(`CALL peer.tell(${perTransaction}, ${perMessage})`);
    await source.db.query('RESET synchronous_commit');
    await source.db.query('CHECKPOINT');
  };
  const insert = async (): Promise<void> => {
    await source.addBacklog(shape);
    // its first reader writes whole pages to WAL, which the slots of the messages should not have to pass over
    await source.db.query('VACUUM outbox.event');
  };
  const readers = [
    { name: INSERT, contestant: WALSENDER_PACED, perMessage: 1, commit: insert },
    { name: 'message each', contestant: MESSAGES_PACED, perMessage: 1, commit: async () => tell(1) },
    { name: `a message of ${BATCH}`, contestant: MESSAGES_PACED, perMessage: BATCH, commit: async () => tell(BATCH) },
  ].filter(({ perMessage }) => perMessage <= perTransaction);
  const order: { name: string; repetition: number; turn: Turn }[] = [];
  for (const { name, contestant, perMessage, commit } of readers) {
    const prepared: Turn[] = [];
    while (prepared.length < repeat) {
      prepared.push(turns.use(await contestant.prepare(source, { ...shape, events: events / perMessage })));
    }
    await commit();
    order.push(...prepared.map((turn, repetition) => ({ name, repetition, turn })));
  }
  const seen = new Map<string, Costs[]>();
  for (const { name, turn } of order.toSorted((a, b) => a.repetition - b.repetition)) {
    const { seconds, cpu } = await turn.measure();
    add(seen, name, {
      'rows/s': events / seconds,
      'walsender CPU': perMillion(cpu.walsender, events)!,
      'reader CPU': perMillion(cpu.client, events)!,
    });
  }
  print(`read: ${number(events)} events, ${number(perTransaction)} a transaction`, READ_COLUMNS, seen);
}

async function written({ db }: Source): Promise<{ wal: number; heap: number }> {
  const { rows } = await db.query<{ wal: number; heap: number }>(`
    SELECT (pg_current_wal_insert_lsn() - '0/0')::float8 AS wal,
           (SELECT sum(pg_total_relation_size(relid))::float8 FROM pg_partition_tree('outbox.event') WHERE isleaf) AS heap`);
  return rows[0]!;
}

function add(seen: Map<string, Costs[]>, name: string, costs: Costs): void {
  seen.set(name, [...(seen.get(name) ?? []), costs]);
}

function print(title: string, columns: Readonly<Record<string, number>>, seen: ReadonlyMap<string, Costs[]>): void {
  console.log(`\n== ${title}\n${row('', Object.keys(columns))}`);
  for (const [name, all] of seen) {
    const medians = Object.entries(columns).map(([head, digits]) => {
      const spread = spreadOf(all.map((costs) => costs[head]));
      return spread === undefined ? '' : number(spread.median, digits);
    });
    console.log(row(name, medians));
  }
}
