import { OutboxError } from '../../errors.ts';
import { INSERT_COLUMNS } from '../batch/native.ts';
import type { ClickHouse } from './clickhouse.ts';

/** Blocks of all who write to the table; with fewer, the token of a repeated insert might be forgotten too soon. */
const MIN_WINDOW_BLOCKS = 1000;
const MIN_WINDOW_SECONDS = 3600;
const TABLE_SETTINGS = [
  'non_replicated_deduplication_window',
  'replicated_deduplication_window',
  'replicated_deduplication_window_seconds',
  'fsync_after_insert',
  'fsync_part_directory',
] as const;

type TableSetting = (typeof TABLE_SETTINGS)[number];

/** A setting's value in a table's definition, or the server's default. */
type SettingOf = (definition: string, name: TableSetting) => number;

interface TableRow {
  database: string;
  name: string;
  engine: string;
  engine_full: string;
}

/**
 * Makes sure that the table can hold every event exactly once: an engine that keeps every row and remembers tokens, writes
 * through to the disk, and has the columns that are sent. Returns what is doubtful beside it: materialized views whose
 * target forgets tokens and would count a repeated insert again.
 *
 * Throws OUTBOX_CH_NOT_MIGRATED, OUTBOX_CH_TABLE_UNSUITABLE with all problems, or what the question itself ran into.
 */
export async function checkTarget(clickhouse: ClickHouse, table: string, signal?: AbortSignal): Promise<string[]> {
  const [found] = await clickhouse.select<TableRow>(
    `SELECT database, name, engine, engine_full FROM system.tables
      WHERE database = currentDatabase() AND name = {table:String}`,
    { table },
    signal,
  );
  if (found === undefined)
    throw new OutboxError('OUTBOX_CH_NOT_MIGRATED', { detail: `the table "${table}" does not exist in ClickHouse` });
  const columns = await clickhouse.select<{ name: string }>(
    'SELECT name FROM system.columns WHERE database = currentDatabase() AND table = {table:String}',
    { table },
    signal,
  );
  const defaults = await clickhouse.select<{ name: string; value: string }>(
    `SELECT name, value FROM system.merge_tree_settings WHERE name IN (${TABLE_SETTINGS.map((name) => `'${name}'`).join(', ')})`,
    {},
    signal,
  );
  const setting: SettingOf = (definition, name) => {
    const own = new RegExp(`\\b${name} = '?(\\d+|true|false)`).exec(definition)?.[1];
    const value = own ?? defaults.find((row) => row.name === name)?.value ?? '0';
    return value === 'true' ? 1 : Number(value);
  };

  const problems = engineProblems(found, setting);
  for (const name of INSERT_COLUMNS) {
    if (!columns.some((column) => column.name === name)) problems.push(`the column ${name} is missing`);
  }
  if (problems.length > 0) {
    const detail = `the table "${table}" cannot hold events exactly once`;
    throw new OutboxError('OUTBOX_CH_TABLE_UNSUITABLE', { detail, problems });
  }
  return forgetfulViews(clickhouse, found, setting, signal);
}

function engineProblems({ engine, engine_full: definition }: TableRow, setting: SettingOf): string[] {
  if (!/^(Replicated|Shared)?MergeTree$/.test(engine)) {
    return [
      `its engine is ${engine}, which is not a (Replicated)MergeTree: it may drop rows, or does not remember tokens`,
    ];
  }
  const wanted: [TableSetting, number][] =
    engine === 'MergeTree'
      ? [['non_replicated_deduplication_window', MIN_WINDOW_BLOCKS]]
      : [
          ['replicated_deduplication_window', MIN_WINDOW_BLOCKS],
          ['replicated_deduplication_window_seconds', MIN_WINDOW_SECONDS],
        ];
  if (!engine.startsWith('Shared')) wanted.push(['fsync_after_insert', 1], ['fsync_part_directory', 1]);
  return wanted
    .filter(([name, least]) => setting(definition, name) < least)
    .map(
      ([name, least]) =>
        `${name} is ${setting(definition, name)}: ALTER TABLE … MODIFY SETTING ${name} = ${least === 1 ? 1 : least * 10}`,
    );
}

/** Materialized views on the table whose target does not remember tokens. */
async function forgetfulViews(
  clickhouse: ClickHouse,
  { database, name }: TableRow,
  setting: SettingOf,
  signal: AbortSignal | undefined,
): Promise<string[]> {
  // a view either names its target, or has a definition of storage of its own
  const views = await clickhouse.select<{ view: string; definition: string }>(
    `SELECT v.name AS view, if(t.create_table_query = '', v.create_table_query, t.create_table_query) AS definition
       FROM (
         SELECT name, create_table_query, replaceAll(extract(create_table_query, ' TO (\\S+)'), '\`', '') AS target
           FROM system.tables
          WHERE engine = 'MaterializedView' AND (database, name) IN (
            SELECT arrayJoin(arrayZip(dependencies_database, dependencies_table)) FROM system.tables
             WHERE database = {database:String} AND name = {name:String})
       ) AS v
       LEFT JOIN (SELECT concat(database, '.', name) AS target, create_table_query FROM system.tables) AS t USING (target)`,
    { database, name },
    signal,
  );
  return views
    .filter(({ definition }) => /ENGINE = (?!Replicated|Shared)\w*MergeTree/.test(definition))
    .filter(({ definition }) => setting(definition, 'non_replicated_deduplication_window') === 0)
    .map(({ view }) => view);
}
