import { OutboxError } from '../../errors.ts';
import { INSERT_COLUMNS } from '../batch/native.ts';
import type { ClickHouse } from './client.ts';
import { MIN_WINDOW_BLOCKS, viewsOn, type SettingOf, type Target } from './views.ts';

const MIN_WINDOW_SECONDS = 3600;
/** How often rows may seem hidden before they are: a part that is dropped between two questions is not. */
const LOOKS = 3;
const TABLE_SETTINGS = [
  'non_replicated_deduplication_window',
  'replicated_deduplication_window',
  'replicated_deduplication_window_seconds',
  'fsync_after_insert',
  'fsync_part_directory',
] as const;

const MICROSECONDS: readonly string[] = ['event_date_time', 'committed_at', 'delivered_at'];
/** Numbers that an Int32 does not fit into: it would wrap, or be rounded. */
const NARROW = /\b(?:UInt\d+|Int8|Int16|Bool|Float32|BFloat16)\b/;

type TableSetting = (typeof TABLE_SETTINGS)[number];

interface ColumnRow {
  name: string;
  type: string;
  default_kind: string;
}

interface TableRow {
  database: string;
  name: string;
  uuid: string;
  engine: string;
  engine_full: string;
}

/**
 * Makes sure that the table can hold every event exactly once: an engine that keeps every row and remembers tokens, writes
 * through to the disk, and has the columns that are sent. Returns what hangs on it: materialized views, and which of
 * them may count a repeated insert again.
 *
 * Throws OUTBOX_CH_NOT_MIGRATED, OUTBOX_CH_TABLE_UNSUITABLE with all problems, OUTBOX_CH_ROWS_HIDDEN, or what the question itself ran into.
 */
export async function checkTarget(clickhouse: ClickHouse, table: string, signal?: AbortSignal): Promise<Target> {
  const [found] = await clickhouse.select<TableRow>(
    `SELECT database, name, toString(uuid) AS uuid, engine, engine_full FROM system.tables
      WHERE database = currentDatabase() AND name = {table:String}`,
    { table },
    signal,
  );
  if (found === undefined)
    throw new OutboxError('OUTBOX_CH_NOT_MIGRATED', { detail: `the table "${table}" does not exist in ClickHouse` });
  const columns = await clickhouse.select<ColumnRow>(
    'SELECT name, type, default_kind FROM system.columns WHERE database = currentDatabase() AND table = {table:String}',
    { table },
    signal,
  );
  const defaults = await clickhouse.select<{ name: string; value: string }>(
    `SELECT name, value FROM system.merge_tree_settings WHERE name IN (${TABLE_SETTINGS.map((name) => `'${name}'`).join(', ')})`,
    {},
    signal,
  );
  const setting: SettingOf = (definition, name) => {
    const clause = definition.slice(definition.lastIndexOf(' SETTINGS '));
    const own = new RegExp(`\\b${name} = '?(\\d+|true|false)`).exec(clause)?.[1];
    const value = own ?? defaults.find((row) => row.name === name)?.value ?? '0';
    return value === 'true' ? 1 : Number(value);
  };

  const problems = [...engineProblems(found, setting), ...columnProblems(columns)];
  if (problems.length > 0) {
    const detail = `the table "${table}" cannot hold events exactly once`;
    throw new OutboxError('OUTBOX_CH_TABLE_UNSUITABLE', { detail, problems });
  }
  await checkVisible(clickhouse, found, signal);
  return viewsOn(clickhouse, found, setting, signal);
}

/**
 * Makes sure that no row policy hides rows from this account, which may not see the policies: it must be able to count all that
 * the table holds, rows that a lightweight DELETE masks included. Parts come and go meanwhile, so that only a difference that
 * stays is one.
 */
async function checkVisible(clickhouse: ClickHouse, { name }: TableRow, signal?: AbortSignal): Promise<void> {
  for (let looks = 0; looks < LOOKS; looks++) {
    // without a policy, both come from the metadata of parts
    const [held] = await clickhouse.select<{ rows: string }>(
      `SELECT toString(ifNull(total_rows, 0)) AS rows FROM system.tables
        WHERE database = currentDatabase() AND name = {name:String}`,
      { name },
      signal,
    );
    const [visible] = await clickhouse.select<{ rows: string }>(
      'SELECT toString(count()) AS rows FROM {name:Identifier} SETTINGS apply_deleted_mask = 0',
      { name },
      signal,
    );
    if (BigInt(visible!.rows) >= BigInt(held?.rows ?? '0')) return;
  }
  throw new OutboxError('OUTBOX_CH_ROWS_HIDDEN', {
    detail: `this account cannot see all rows of the table "${name}"`,
  });
}

/** What would be delivered otherwise than it is, or not be found again. Strings and numbers are converted as they fit. */
function columnProblems(columns: readonly ColumnRow[]): string[] {
  const problems: string[] = [];
  for (const name of INSERT_COLUMNS) {
    const type = columns.find((column) => column.name === name)?.type;
    if (type === undefined) problems.push(`the column ${name} is missing`);
    else if (MICROSECONDS.includes(name) && !/^DateTime64\(6\b/.test(type))
      problems.push(
        `the column ${name} is ${type}, which is not DateTime64(6): ALTER TABLE … MODIFY COLUMN ${name} DateTime64(6, 'UTC')`,
      );
    else if (name === 'metadata_version' && NARROW.test(type))
      problems.push(
        `the column ${name} is ${type}, which does not hold every Int32: ALTER TABLE … MODIFY COLUMN ${name} Int32`,
      );
  }
  const context = columns.find(({ name }) => name === 'event_context');
  if (context?.default_kind === '') {
    const value = /String/.test(context.type)
      ? 'event_context_text'
      : `JSONExtract(event_context_text, '${context.type.replaceAll("'", "\\'")}')`;
    problems.push(
      `the column event_context has no DEFAULT, so every context would be empty: ALTER TABLE … MODIFY COLUMN event_context DEFAULT ${value}`,
    );
  }
  return problems;
}

/** Which column a problem says to be missing: how it is made is not known here. */
export function missingColumnOf(problem: string): string | undefined {
  return /^the column (\w+) is missing$/.exec(problem)?.[1];
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
