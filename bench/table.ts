/**
 * What the columns, codecs and settings of the table cost: the same bodies, as the streamer sends them, into tables that
 * differ in nothing else. Prints medians of ClickHouse's CPU seconds a million rows for the inserts and for one merge of all
 * their parts, MB, and what readers of the JSON pay: CPU ms of a question, before and after that merge.
 *
 *   npm run bench:table -- [--rows 1000000] [--times 3] [--kinds 40] [--only part,of,names]
 * `--kinds 40` is of so many kinds of events, each with eight paths of its own beside three that all share; `--kinds 0` is of
 * one kind with ten paths.
 */
import { readFile, rm } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { ClickHouse } from '../src/streamer/clickhouse/client.ts';
import { post, recordBacklog, rewrite } from './bodies.ts';
import { number, perMillion, spreadOf } from './figures.ts';
import { cpuSeconds } from './processes.ts';
import { CANDIDATES } from './tables.ts';
import { Warehouse } from './warehouse.ts';

const DDL = new URL('../migrations/clickhouse/0000_events.sql', import.meta.url);
const REPEATS = 5;
/** What costs so much is asked once. */
const DEAR_SECONDS = 0.4;

const { values } = parseArgs({
  options: {
    rows: { type: 'string', default: '1000000' },
    times: { type: 'string', default: '3' },
    kinds: { type: 'string', default: '40' },
    only: { type: 'string' },
  },
});
const rows = Number(values.rows);
const kinds = Number(values.kinds);
const parts = values.only?.split(',');
const chosen = CANDIDATES.filter(({ name }) => parts?.some((part) => name.includes(part)) ?? true);
const rare = kinds === 0 ? 'nested.a' : 'k3_count';
const QUESTIONS = [
  'SELECT sum(event_context.amount::Nullable(Float64)) FROM {table}',
  `SELECT sum(event_context.${rare}::Nullable(Int64)) FROM {table}`,
  'SELECT sum(length(toJSONString(event_context))) FROM (SELECT event_context FROM {table} LIMIT 10000)',
];
const HEADS = [
  'insert, CPU-s',
  'merge, CPU-s',
  'MB',
  'MB merged',
  'common path, ms',
  'rare path, ms',
  '10,000 whole, ms',
];

const recorded = await recordBacklog({ events: rows, perTransaction: 4, bytes: 300 });
let bodies = recorded;
try {
  await using warehouse = await Warehouse.start();
  if (kinds > 0) bodies = await rewrite(warehouse, recorded, 'Native', ofKinds(kinds));
  const ddl = await readFile(DDL, 'utf8');
  const clickhouse = new ClickHouse(warehouse.url, 60_000);
  const figures = new Map<string, number[][]>();
  for (let time = 0; time < Number(values.times); time++) {
    for (const { name, edit } of chosen) {
      const edited = edit(ddl);
      if (edited === ddl && edit !== CANDIDATES[0]!.edit)
        throw new Error(`${name} changes nothing: the DDL is another`);
      const run = await measure(warehouse, clickhouse, edited);
      figures.set(name, [...(figures.get(name) ?? []), run]);
      console.error(
        line(
          `${time + 1}  ${name}`,
          run.map((figure) => number(figure, 1)),
        ),
      );
    }
  }
  await clickhouse.close();
  console.log(`${number(rows)} rows, inserts of 100,000, ${kinds === 0 ? 'one kind of events' : `${kinds} kinds`}\n`);
  console.log(line('', HEADS));
  for (const [name, runs] of figures) {
    const median = (at: number): number => spreadOf(runs.map((run) => run[at]!))!.median;
    const pair = (at: number): string =>
      Number.isNaN(median(at)) ? '—' : `${number(median(at), 0)} → ${number(median(at + QUESTIONS.length), 0)}`;
    const costs = [number(median(0), 2), number(median(1), 2), number(median(2), 1), number(median(3), 1)];
    console.log(line(name, [...costs, ...QUESTIONS.map((_, at) => pair(4 + at))]));
  }
} finally {
  for (const directory of new Set([recorded, bodies])) await rm(directory, { recursive: true, force: true });
}

/** In the order of HEADS, all questions before the merge and then all of them after it. */
async function measure(warehouse: Warehouse, clickhouse: ClickHouse, ddl: string): Promise<number[]> {
  await warehouse.client.command({ query: ddl, query_params: { table: 'candidate' } });
  await warehouse.command('SYSTEM STOP MERGES candidate');
  const insert = await cpuOf(warehouse, async () => post(clickhouse, 'candidate', bodies));
  const inserted = await megabytes(warehouse);
  const before = await ask(warehouse);
  await warehouse.command('SYSTEM START MERGES candidate');
  const merge = await cpuOf(warehouse, async () => warehouse.command('OPTIMIZE TABLE candidate FINAL'));
  const merged = await megabytes(warehouse);
  const after = await ask(warehouse);
  await warehouse.command('DROP TABLE candidate SYNC');
  return [perMillion(insert, rows)!, perMillion(merge, rows)!, inserted, merged, ...before, ...after];
}

/** CPU ms of each question, warm; not a number where the table cannot answer it. */
async function ask(warehouse: Warehouse): Promise<number[]> {
  const costs: number[] = [];
  for (const question of QUESTIONS) {
    const sql = question.replace('{table}', 'candidate');
    try {
      const once = await cpuOf(warehouse, async () => void (await warehouse.select(sql)));
      if (once > DEAR_SECONDS) {
        costs.push(once * 1000);
        continue;
      }
      const cpu = await cpuOf(warehouse, async () => {
        for (let time = 0; time < REPEATS; time++) await warehouse.select(sql);
      });
      costs.push((cpu * 1000) / REPEATS);
    } catch {
      costs.push(NaN);
    }
  }
  return costs;
}

async function cpuOf(warehouse: Warehouse, work: () => Promise<void>): Promise<number> {
  const before = cpuSeconds(warehouse.pid);
  await work();
  return cpuSeconds(warehouse.pid) - before;
}

async function megabytes(warehouse: Warehouse): Promise<number> {
  const [found] = await warehouse.select<{ mb: number }>(
    "SELECT sum(bytes_on_disk) / 1e6 AS mb FROM system.parts WHERE active AND table = 'candidate'",
  );
  return found!.mb;
}

/** Contexts of about the same size, in which each kind of event has names of its own. */
function ofKinds(count: number): string {
  const n = "JSONExtractUInt(event_context_text, 'orderId')";
  const kind = `toString(cityHash64(${n}) % ${count})`;
  const own = (name: string, value: string): string => `',"k', ${kind}, '_${name}":', ${value}`;
  return `
    concat('kind.', ${kind}) AS event_type,
    concat('{"orderId":', toString(${n}),
           ',"customer":', JSONExtractRaw(event_context_text, 'customer'),
           ',"amount":', JSONExtractRaw(event_context_text, 'amount'),
           ${own('count', `toString(${n} % 97)`)},
           ${own('reference', `concat('"', lower(hex(cityHash64(${n}, 1))), '"')`)},
           ${own('paid', `if(${n} % 3 = 0, 'true', 'false')`)},
           ${own('ratio', `toString((${n} % 64) / 64)`)},
           ${own('city', `arrayElement(['"Graz"', '"Lyon"', '"Oslo"', '"Turin"'], ${n} % 4 + 1)`)},
           ${own('note', `concat('"', substring(JSONExtractString(event_context_text, 'note'), 1, 50), '"')`)},
           ${own('step', `toString(${n} % 5)`)},
           ${own('agent', `concat('"a-', toString(${n} % 512), '"')`)}, '}') AS event_context_text`;
}

function line(name: string, cells: readonly string[]): string {
  return [name.padEnd(40), ...cells.map((cell) => cell.padStart(18))].join('');
}
