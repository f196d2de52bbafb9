import { OutboxError } from '../../errors.ts';
import { INSERT_COLUMNS } from '../batch/native.ts';
import type { ClickHouse } from './clickhouse.ts';

/** Blocks of all who write to the table; with fewer, the token of a repeated insert might be forgotten too soon. */
export const MIN_WINDOW_BLOCKS = 1000;
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

export interface TableName {
  readonly database: string;
  readonly name: string;
}

/** The table, and the materialized views that an insert feeds. */
export interface Target {
  readonly views: number;
  /** Views whose target forgets tokens, or cannot be looked at; each with what is wrong. */
  readonly doubtful: readonly string[];
  /** All that an insert writes to and that remembers tokens. */
  readonly tables: readonly TableName[];
  /** How long tokens are remembered, whatever the number of blocks. */
  readonly remembersMs: number;
}

interface TableRow {
  database: string;
  name: string;
  engine: string;
  engine_full: string;
}

/**
 * Makes sure that the table can hold every event exactly once: an engine that keeps every row and remembers tokens, writes
 * through to the disk, and has the columns that are sent. Returns what hangs on it: materialized views, and which of
 * them may count a repeated insert again.
 *
 * Throws OUTBOX_CH_NOT_MIGRATED, OUTBOX_CH_TABLE_UNSUITABLE with all problems, or what the question itself ran into.
 */
export async function checkTarget(clickhouse: ClickHouse, table: string, signal?: AbortSignal): Promise<Target> {
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
  return targetOf(clickhouse, found, setting, signal);
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

interface ViewRow {
  database: string;
  name: string;
  /** Empty when the view itself may not be seen. */
  definition: string;
  /** `database.name` of what it fills; empty when it has storage of its own. */
  target: string;
  targetDefinition: string;
}

/** All views that an insert feeds, also those on what other views fill. */
async function targetOf(
  clickhouse: ClickHouse,
  table: TableRow,
  setting: SettingOf,
  signal: AbortSignal | undefined,
): Promise<Target> {
  const doubtful: string[] = [];
  const tables: TableName[] = [];
  let seconds = forgetsAfter(table.engine_full, setting);
  const seen = new Set<string>();
  const fed = [{ database: table.database, name: table.name }];
  for (let next = fed.pop(); next !== undefined; next = fed.pop()) {
    tables.push(next);
    for (const view of await viewsOf(clickhouse, next, signal)) {
      const name = `${view.database}.${view.name}`;
      if (seen.has(name)) continue;
      seen.add(name);
      const definition = view.targetDefinition === '' ? view.definition : view.targetDefinition;
      // what it stores itself is in a table without a name of ours: its blocks cannot be counted
      seconds = view.target === '' ? 0 : Math.min(seconds, forgetsAfter(definition, setting));
      if (definition === '') doubtful.push(`${name} cannot be checked: GRANT SHOW TABLES on it and on its target`);
      else if (!remembers(definition, setting))
        doubtful.push(`${name} fills a table that does not remember ${MIN_WINDOW_BLOCKS} tokens`);
      const [database, target] = view.target.split('.');
      if (database !== undefined && target !== undefined) fed.push({ database, name: target });
    }
  }
  return { views: seen.size, doubtful: doubtful.toSorted(), tables, remembersMs: seconds * 1000 };
}

async function viewsOf(
  clickhouse: ClickHouse,
  of: { database: string; name: string },
  signal: AbortSignal | undefined,
): Promise<ViewRow[]> {
  return clickhouse.select<ViewRow>(
    `SELECT d.in_database AS database, d.view AS name, v.create_table_query AS definition, v.target AS target, t.create_table_query AS targetDefinition
       FROM (
         SELECT dependency.1 AS in_database, dependency.2 AS view FROM system.tables
          ARRAY JOIN arrayZip(dependencies_database, dependencies_table) AS dependency
          WHERE database = {database:String} AND name = {name:String}
       ) AS d
       LEFT JOIN (
         SELECT database, name, create_table_query, replaceAll(extract(create_table_query, '^CREATE MATERIALIZED VIEW \\S+ TO (\\S+)'), '\`', '') AS target
           FROM system.tables WHERE engine = 'MaterializedView'
       ) AS v ON v.database = d.in_database AND v.name = d.view
       LEFT JOIN (SELECT concat(database, '.', name) AS target, create_table_query FROM system.tables) AS t ON t.target = v.target
      SETTINGS join_use_nulls = 0`,
    of,
    signal,
  );
}

/** Null keeps nothing that could be counted twice; what it feeds is looked at in its turn. */
function remembers(definition: string, setting: SettingOf): boolean {
  const engine = /\bENGINE = (\w+)/.exec(definition)?.[1] ?? '';
  if (engine === 'Null') return true;
  if (!engine.endsWith('MergeTree')) return false;
  const isReplicated = /^(Replicated|Shared)/.test(engine);
  return (
    setting(definition, isReplicated ? 'replicated_deduplication_window' : 'non_replicated_deduplication_window') >=
    MIN_WINDOW_BLOCKS
  );
}

/** Seconds after which an engine forgets tokens whatever their number. */
function forgetsAfter(definition: string, setting: SettingOf): number {
  return /\b(Replicated|Shared)\w*MergeTree/.test(definition)
    ? setting(definition, 'replicated_deduplication_window_seconds')
    : Infinity;
}
