import { OutboxError } from '../../errors.ts';
import { INSERT_COLUMNS } from '../batch/native.ts';
import type { ClickHouse } from './clickhouse.ts';

/** Fewer remembered blocks, and a restart after a pause could find its token forgotten. */
const MIN_DEDUPLICATION_WINDOW = 1000;

interface TableRow {
  engine: string;
  engine_full: string;
}

/**
 * Makes sure that the table can hold every event exactly once: it is a MergeTree, remembers tokens, writes through to the
 * disk, and has the columns that are sent. Throws OUTBOX_CH_NOT_MIGRATED, OUTBOX_CH_TABLE_UNSUITABLE with all problems, or
 * what the question itself ran into.
 */
export async function checkTarget(clickhouse: ClickHouse, table: string, signal?: AbortSignal): Promise<void> {
  const parameters = { table };
  const [found] = await clickhouse.select<TableRow>(
    'SELECT engine, engine_full FROM system.tables WHERE database = currentDatabase() AND name = {table:String}',
    parameters,
    signal,
  );
  if (found === undefined)
    throw new OutboxError('OUTBOX_CH_NOT_MIGRATED', { detail: `the table "${table}" does not exist in ClickHouse` });
  const columns = await clickhouse.select<{ name: string }>(
    'SELECT name FROM system.columns WHERE database = currentDatabase() AND table = {table:String}',
    parameters,
    signal,
  );
  const defaults = await clickhouse.select<{ name: string; value: string }>(
    `SELECT name, value FROM system.merge_tree_settings WHERE name IN ('non_replicated_deduplication_window', 'fsync_after_insert', 'fsync_part_directory')`,
    {},
    signal,
  );
  const setting = (name: string): number => {
    const own = new RegExp(`\\b${name} = '?(\\d+|true|false)`).exec(found.engine_full)?.[1];
    const value = own ?? defaults.find((row) => row.name === name)?.value ?? '0';
    return value === 'true' ? 1 : Number(value);
  };

  const problems: string[] = [];
  const isReplicated = /^(Replicated|Shared)/.test(found.engine);
  if (!found.engine.endsWith('MergeTree'))
    problems.push(`its engine is ${found.engine}, not a MergeTree: tokens are not remembered`);
  else if (!isReplicated) {
    const window = setting('non_replicated_deduplication_window');
    if (window < MIN_DEDUPLICATION_WINDOW) {
      problems.push(
        `non_replicated_deduplication_window is ${window}: ALTER TABLE … MODIFY SETTING non_replicated_deduplication_window = 10000`,
      );
    }
  }
  for (const name of ['fsync_after_insert', 'fsync_part_directory']) {
    if (!found.engine.startsWith('Shared') && setting(name) === 0)
      problems.push(`${name} is off: ALTER TABLE … MODIFY SETTING ${name} = 1`);
  }
  for (const name of INSERT_COLUMNS)
    if (!columns.some((column) => column.name === name)) problems.push(`the column ${name} is missing`);
  if (problems.length > 0) {
    throw new OutboxError('OUTBOX_CH_TABLE_UNSUITABLE', {
      detail: `the table "${table}" cannot hold events exactly once`,
      problems,
    });
  }
}
