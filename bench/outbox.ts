/**
 * What the outbox's own shape costs a producer: the same INSERTs into tables that differ in one thing each. Prints µs of the
 * server, bytes of WAL and bytes of the table for an event; medians of interleaved repetitions.
 *
 *   npm run bench:outbox -- [--rows 100000] [--times 5]
 */
import { parseArgs } from 'node:util';
import { number, row, spreadOf } from './figures.ts';
import { contextOf } from './notes.ts';
import { Source } from './source.ts';

const { values } = parseArgs({
  options: { rows: { type: 'string', default: '100000' }, times: { type: 'string', default: '5' } },
});
const rows = Number(values.rows);

/** Made from the outbox by statements on `shape.event`. */
const SHAPES = [
  { name: 'the outbox: json, a ring of partitions', make: 'CREATE VIEW shape.event AS TABLE outbox.event' },
  { name: 'without partitions', make: like('') },
  { name: 'context as text', make: like('ALTER TABLE shape.event ALTER event_context TYPE text') },
  { name: 'context as jsonb', make: like('ALTER TABLE shape.event ALTER event_context TYPE jsonb') },
  { name: 'primary key on event_id', make: like('ALTER TABLE shape.event ADD PRIMARY KEY (event_id)') },
  {
    name: 'primary key of an identity',
    make: like('ALTER TABLE shape.event ADD id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY'),
  },
  { name: 'index on recorded_at', make: like('CREATE INDEX ON shape.event (recorded_at)') },
];

interface Cost {
  readonly microseconds: number;
  readonly walBytes: number;
  readonly tableBytes: number;
}

await using source = await Source.start();
const { db } = source;
await db.query('CREATE SCHEMA shape');
const costs = new Map<string, Cost[]>(SHAPES.map(({ name }) => [name, []]));
for (let time = 0; time < Number(values.times); time++) {
  for (const { name, make } of SHAPES) costs.get(name)!.push(await costOf(make));
}
console.log(`${number(rows)} INSERTs of an event each, in one transaction\n`);
console.log(row('', ['µs', 'WAL bytes', 'table bytes']));
for (const [name, each] of costs) {
  const median = (of: (cost: Cost) => number, digits: number): string => number(spreadOf(each.map(of))!.median, digits);
  console.log(
    row(name, [
      median(({ microseconds }) => microseconds, 1),
      median(({ walBytes }) => walBytes, 0),
      median(({ tableBytes }) => tableBytes, 0),
    ]),
  );
}

function like(change: string): string {
  return `CREATE TABLE shape.event (LIKE outbox.event INCLUDING DEFAULTS); ${change}`;
}

async function costOf(make: string): Promise<Cost> {
  await db.query(`DROP SCHEMA shape CASCADE; CREATE SCHEMA shape; TRUNCATE outbox.event; CHECKPOINT; ${make}`);
  const { rows: types } = await db.query<{ type: string }>(
    "SELECT format_type(atttypid, NULL) AS type FROM pg_attribute WHERE attrelid = 'shape.event'::regclass AND attname = 'event_context'",
  );
  const context = db.escapeLiteral(JSON.stringify(contextOf(7)));
  const from = await walEnd();
  const began = performance.now();
  // the plan is made once, the context is read anew each time, and no client is waited for
  await db.query(`DO $$ DECLARE context text := ${context}; BEGIN FOR i IN 1..${rows} LOOP
    INSERT INTO shape.event (event_id, event_type, event_date_time, environment, event_context, metadata_version, traceparent)
    VALUES (gen_random_uuid(), 'order.placed', now(), 'production', context::${types[0]!.type}, 1, NULL);
  END LOOP; END $$`);
  const microseconds = ((performance.now() - began) * 1000) / rows;
  const walBytes = ((await walEnd()) - from) / rows;
  const { rows: sizes } = await db.query<{ bytes: string }>(
    "SELECT sum(pg_total_relation_size(oid))::text AS bytes FROM pg_class WHERE relkind = 'r' AND relnamespace IN ('shape'::regnamespace, 'outbox'::regnamespace) AND relname LIKE 'event%'",
  );
  return { microseconds, walBytes, tableBytes: Number(sizes[0]!.bytes) / rows };
}

async function walEnd(): Promise<number> {
  const { rows: found } = await db.query<{ at: string }>("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn AS at");
  return Number(found[0]!.at);
}
