/**
 * What the order of the table and its skip indexes cost and save. The tables have the same rows and differ in nothing else; the
 * questions are those of analysts and investigators. Each question is asked warm, about nine events. Prints for each: rows read,
 * MB read from the files (including indexes), and the median of ms. Rows and MB are averages, because what a bloom filter
 * lets through is chance.
 *
 *   npm run bench:questions -- [--rows 5000000] [--only part,of,names]
 */
import { readFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { number, spreadOf } from './figures.ts';
import { cpuSeconds } from './processes.ts';
import { Warehouse } from './warehouse.ts';

const DDL = new URL('../migrations/clickhouse/0000_events.sql', import.meta.url);
const SAMPLES = 9;
const DAYS = 28;
/** Rows of one INSERT, as the streamer sends them. */
const BLOCK_ROWS = 100_000;
const ORDER = 'ORDER BY (event_date_time, event_type)';

const CANDIDATES = [
  { name: 'time, type (shipped)', edit: (ddl: string) => ddl },
  { name: 'the same without indexes', edit: (ddl: string) => ddl.replaceAll(/,\s*INDEX [^,\n]+/g, '') },
  {
    name: 'the same, indexes of four granules',
    edit: (ddl: string) => ddl.replaceAll('GRANULARITY 1', 'GRANULARITY 4'),
  },
  { name: 'the same, one false positive in 40', edit: filtered('bloom_filter') },
  { name: 'the same, one false positive in 1,000', edit: filtered('bloom_filter(0.001)') },
  { name: 'type, time', edit: ordered('event_type, event_date_time') },
  { name: 'environment, type, time', edit: ordered('environment, event_type, event_date_time') },
  { name: 'hour, type, time', edit: ordered('toStartOfHour(event_date_time), event_type, event_date_time') },
  { name: 'position', edit: ordered('source, lsn, seq') },
  {
    name: 'position, with an index of times',
    edit: (ddl: string) =>
      ordered('source, lsn, seq')(ddl).replace(
        'INDEX by_lsn lsn TYPE minmax',
        'INDEX by_time event_date_time TYPE minmax GRANULARITY 1, INDEX by_lsn lsn TYPE minmax',
      ),
  },
];

const DAY = "event_date_time >= '2026-01-14 00:00:00' AND event_date_time < '2026-01-15 00:00:00'";
const QUESTIONS = [
  { name: 'a day by type', sql: `SELECT event_type, count() FROM {table} WHERE ${DAY} GROUP BY event_type` },
  {
    name: 'one type, a day, revenue',
    sql: `SELECT sum(event_context.amount::Nullable(Float64)) FROM {table} WHERE event_type = 'order.3' AND ${DAY}`,
  },
  {
    name: 'one type, all days, revenue by day',
    sql: `SELECT toDate(event_date_time) AS day, sum(event_context.amount::Nullable(Float64)) FROM {table} WHERE event_type = 'order.3' GROUP BY day`,
  },
  {
    name: 'customers of a week',
    sql: `SELECT uniqExact(event_context.customer::String) FROM {table} WHERE event_date_time >= '2026-01-12 00:00:00' AND event_date_time < '2026-01-19 00:00:00'`,
  },
  {
    name: 'ten minutes, all types',
    sql: `SELECT * FROM {table} WHERE event_date_time >= '2026-01-14 12:00:00' AND event_date_time < '2026-01-14 12:10:00' ORDER BY lsn, seq`,
  },
  {
    name: 'the newest hundred',
    sql: 'SELECT event_type, event_date_time, event_context_text FROM {table} ORDER BY event_date_time DESC LIMIT 100',
  },
  { name: 'one event', sql: 'SELECT * FROM {table} WHERE event_id = {event}' },
  { name: 'one trace', sql: 'SELECT event_type, lsn, seq FROM {table} WHERE trace_id = {trace} ORDER BY lsn, seq' },
  {
    name: 'everything about a subject',
    sql: 'SELECT event_type, event_date_time, event_context_text FROM {table} WHERE subject = {subject} ORDER BY lsn, seq',
  },
  { name: 'one transaction', sql: 'SELECT * FROM {table} WHERE lsn = {lsn} ORDER BY seq' },
  {
    name: 'who touched an order, a day',
    sql: `SELECT event_type, event_date_time FROM {table} WHERE event_context.orderId::Int64 = {order} AND ${DAY} ORDER BY event_date_time`,
  },
];

const { values } = parseArgs({
  options: { rows: { type: 'string', default: '5000000' }, only: { type: 'string' } },
});
const rows = Number(values.rows);
const parts = values.only?.split(',');
const chosen = CANDIDATES.filter(({ name }) => parts?.some((part) => name.includes(part)) ?? true);

await using warehouse = await Warehouse.start();
const ddl = await readFile(DDL, 'utf8');
await fill('events');
const samples = await warehouse.select<{ event: string; trace: string; subject: string; lsn: number; orderId: number }>(
  `SELECT event_id AS event, trace_id AS trace, subject, lsn, event_context.orderId::Int64 AS orderId FROM events WHERE ${DAY} ORDER BY cityHash64(event_id) LIMIT ${SAMPLES}`,
);
console.log(`${number(rows)} rows over ${DAYS} days\n`);
const columns: string[][] = [];
for (const [at, { name, edit }] of chosen.entries()) {
  const table = `candidate_${at}`;
  const edited = edit(ddl);
  if (edited === ddl && edit !== CANDIDATES[0]!.edit)
    throw new Error(`${name} changes nothing: it no longer matches the DDL`);
  await warehouse.client.command({ query: edited, query_params: { table } });
  const before = cpuSeconds(warehouse.pid);
  await warehouse.command(`INSERT INTO ${table} SELECT * FROM events`, { max_insert_threads: 1 });
  await warehouse.command(`OPTIMIZE TABLE ${table} FINAL`);
  const cpu = cpuSeconds(warehouse.pid) - before;
  const [disk] = await warehouse.select<{ mb: number }>(
    `SELECT sum(bytes_on_disk) / 1e6 AS mb FROM system.parts WHERE active AND table = '${table}'`,
  );
  const cells = [number(disk!.mb, 1), number(cpu, 1)];
  for (const { sql } of QUESTIONS) cells.push(await ask(sql, table));
  columns.push(cells);
  await warehouse.command(`DROP TABLE ${table} SYNC`);
  console.log(`${String.fromCharCode(65 + at)}  ${name}`);
}
console.log(
  `\n${row(
    'rows / MB / ms',
    columns.map((_, at) => String.fromCharCode(65 + at)),
  )}`,
);
for (const [line, name] of [
  'disk, MB',
  'insert and merge, CPU-s',
  ...QUESTIONS.map((question) => question.name),
].entries()) {
  console.log(
    row(
      name,
      columns.map((cells) => cells[line]!),
    ),
  );
}

async function ask(sql: string, table: string): Promise<string> {
  const took: number[] = [];
  let read = 0;
  let before = 0;
  for (const sample of [samples[0]!, ...samples]) {
    const query = sql
      .replace('{table}', table)
      .replace('{event}', `'${sample.event}'`)
      .replace('{trace}', `'${sample.trace}'`)
      .replace('{subject}', `'${sample.subject}'`)
      .replace('{lsn}', String(sample.lsn))
      .replace('{order}', String(sample.orderId));
    const result = await warehouse.client.query({ query, format: 'JSON' });
    const { statistics } = await result.json();
    // the first one only warms up
    if (before === 0) {
      before = await bytesRead();
      continue;
    }
    took.push(statistics!.elapsed * 1000);
    read += statistics!.rows_read;
  }
  const megabytes = ((await bytesRead()) - before) / 1e6;
  return `${number(read / SAMPLES)} / ${number(megabytes / SAMPLES, 1)} / ${number(spreadOf(took)!.median, 1)}`;
}

async function bytesRead(): Promise<number> {
  const [found] = await warehouse.select<{ bytes: number }>(
    "SELECT sum(value) AS bytes FROM system.events WHERE event = 'ReadBufferFromFileDescriptorReadBytes'",
  );
  return found!.bytes;
}

/** Four events per transaction and trace, in commit order. An event's own time is up to a minute before its commit. */
async function fill(table: string): Promise<void> {
  await warehouse.command(
    `INSERT INTO ${table} (event_type, event_date_time, environment, event_context_text, metadata_version, subject, event_id,
                           source, lsn, seq, committed_at, delivered_at, trace_id, span_id, recorded_at, recorded_by, origin)
     WITH intDiv(number, 4) AS transaction,
          toDateTime64('2026-01-01 00:00:00', 6, 'UTC') + toIntervalMicrosecond(intDiv(number * ${DAYS * 86_400} * 1000000, ${rows})) AS at
     SELECT 'order.' || toString(cityHash64(number) % 12), at - toIntervalMillisecond(cityHash64(number, 1) % 60000),
            if(cityHash64(transaction) % 10 = 0, 'staging', 'production'),
            '{"orderId":' || toString(cityHash64(transaction, 2) % 1000000) || ',"customer":"c-' || toString(cityHash64(transaction, 3) % 100000)
              || '","amount":' || toString((cityHash64(number, 4) % 10000) / 10) || ',"currency":"EUR","items":' || toString(number % 7)
              || ',"note":"' || hex(cityHash64(number, 5)) || repeat(' please leave it at the door', 4) || '","nested":{"a":' || toString(number) || ',"b":"text","c":true}}',
            1, 'order/' || toString(cityHash64(transaction, 2) % 1000000), generateUUIDv4(number), '7000000000000000000/outbox', 100000000 + transaction * 2048, number % 4 + 1, at,
            at + toIntervalSecond(1), lower(hex(MD5(toString(transaction)))), lower(hex(cityHash64(number, 6))), at, 'shop', 'stream'
       FROM numbers(${rows})`,
    { max_insert_block_size: BLOCK_ROWS, min_insert_block_size_rows: BLOCK_ROWS, max_block_size: BLOCK_ROWS },
  );
}

function ordered(by: string): (sql: string) => string {
  return (sql) => sql.replace(ORDER, `ORDER BY (${by})`);
}

function filtered(index: string): (sql: string) => string {
  return (sql) => sql.replaceAll(/bloom_filter(\([\d.]+\))?/g, index);
}

function row(name: string, cells: readonly string[]): string {
  return [name.padEnd(36), ...cells.map((cell) => cell.padStart(26))].join('');
}
