/**
 * What the format of an INSERT costs ClickHouse: the same rows, as the streamer sends them and as ClickHouse itself writes
 * them in other formats, into the table that types the JSON and into one that keeps the text alone. Prints medians of CPU
 * seconds a million rows, without the merges, and bytes of bodies.
 *
 *   npm run bench:formats -- [--rows 1000000] [--times 3]
 */
import { readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { ClickHouse } from '../src/streamer/clickhouse/client.ts';
import { migrateClickHouse } from '../src/streamer/commands/migrate.ts';
import { post, recordBacklog, rewrite } from './bodies.ts';
import { number, perMillion, spreadOf } from './figures.ts';
import { cpuSeconds } from './processes.ts';
import { Warehouse } from './warehouse.ts';

const FORMATS = ['Native', 'RowBinary', 'JSONEachRow'];
const TABLES = ['typed', 'text'];

const { values } = parseArgs({
  options: { rows: { type: 'string', default: '1000000' }, times: { type: 'string', default: '3' } },
});
const rows = Number(values.rows);

const recorded = await recordBacklog({ events: rows, perTransaction: 100, bytes: 300 });
const directories = new Map([['Native', recorded]]);
try {
  await using warehouse = await Warehouse.start();
  const clickhouse = new ClickHouse(warehouse.url, 60_000);
  for (const format of FORMATS.slice(1)) directories.set(format, await rewrite(warehouse, recorded, format));
  const took = new Map<string, number[]>();
  for (let time = 0; time < Number(values.times); time++) {
    for (const format of FORMATS) {
      for (const table of TABLES) {
        const key = `${format} ${table}`;
        took.set(key, [...(took.get(key) ?? []), await insert(warehouse, clickhouse, table, format)]);
      }
    }
  }
  await clickhouse.close();

  console.log(`${number(rows)} rows, inserts of 100,000: CPU-s of ClickHouse a million rows, median (least to most)\n`);
  console.log(line('', 'JSON typed', 'text only', 'bytes a row'));
  for (const format of FORMATS) {
    const costs = TABLES.map((table) => {
      const { median, min, max } = spreadOf(took.get(`${format} ${table}`)!)!;
      return `${number(median, 2)} (${number(min, 2)} to ${number(max, 2)})`;
    });
    console.log(line(format, ...costs, number((await bytesOf(directories.get(format)!)) / rows, 1)));
  }
} finally {
  for (const directory of directories.values()) await rm(directory, { recursive: true, force: true });
}

/** CPU seconds a million rows. */
async function insert(warehouse: Warehouse, clickhouse: ClickHouse, table: string, format: string): Promise<number> {
  await migrateClickHouse(warehouse.url, table, () => undefined);
  if (table === 'text') await warehouse.command(`ALTER TABLE ${table} DROP COLUMN event_context`);
  await warehouse.command(`SYSTEM STOP MERGES ${table}`);
  const before = cpuSeconds(warehouse.pid);
  await post(clickhouse, table, directories.get(format)!, format);
  const cpu = cpuSeconds(warehouse.pid) - before;
  const [found] = await warehouse.select<{ n: number }>(`SELECT count() AS n FROM ${table}`);
  if (found!.n !== rows) throw new Error(`${format} left ${found!.n} of ${rows} rows`);
  await warehouse.command(`DROP TABLE ${table} SYNC`);
  return perMillion(cpu, rows)!;
}

async function bytesOf(directory: string): Promise<number> {
  const sizes = (await readdir(directory)).map(async (name) => (await stat(join(directory, name))).size);
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
}

function line(name: string, ...cells: readonly string[]): string {
  return [name.padEnd(14), ...cells.map((cell) => cell.padStart(24))].join('');
}
