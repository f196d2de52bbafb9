import { OutboxError } from '../../errors.ts';
import type { ClickHouse } from './client.ts';
import { inspectTable, type TableProblem, type TableRow } from './table.ts';
import { viewsOn, type BrokenView, type Target } from './views.ts';

/** How often rows may seem hidden before they are: a part that is dropped between two questions is not. */
const LOOKS = 3;

/**
 * Makes sure that the table can hold every event exactly once: an engine that keeps every row and remembers tokens, writes
 * through to the disk, and has the columns that are sent. Returns what hangs on it: materialized views, and which of
 * them may count a repeated insert again.
 *
 * Throws what inspectTarget throws, OUTBOX_CH_QUORUM_UNUSABLE, and OUTBOX_CH_VIEW_FAILED where a view would fail every insert.
 */
export async function checkTarget(clickhouse: ClickHouse, name: string, signal?: AbortSignal): Promise<Target> {
  const target = await inspectTarget(clickhouse, name, signal);
  if (clickhouse.quorum !== undefined && !target.isReplicated)
    throw new OutboxError('OUTBOX_CH_QUORUM_UNUSABLE', { detail: `the table "${name}" is not replicated` });
  if (target.broken.length === 0) return target;
  throw new OutboxError('OUTBOX_CH_VIEW_FAILED', {
    detail: 'a view on the table fills a table that is not there',
    problems: target.broken.map(describeBroken),
  });
}

export function describeBroken({ view, target, isDetached }: BrokenView): string {
  const [from, to] = [view, target].map(({ database, name }) => `${database}.${name}`);
  return `the view ${from} fills ${to}, which ${isDetached ? 'is detached' : 'does not exist'}`;
}

/**
 * The same, and views that fail are told, not thrown. Throws OUTBOX_CH_NOT_MIGRATED, OUTBOX_CH_TABLE_DETACHED, OUTBOX_CH_TABLE_FOREIGN, OUTBOX_CH_VERSION,
 * OUTBOX_CH_TABLE_UNSUITABLE with all problems, OUTBOX_CH_ROWS_HIDDEN, or what the question itself ran into.
 */
export async function inspectTarget(clickhouse: ClickHouse, name: string, signal?: AbortSignal): Promise<Target> {
  const { table, setting, problems } = await inspectTable(clickhouse, name, signal);
  if (problems.length > 0) throw unsuitable(name, problems);
  await checkVisible(clickhouse, table, signal);
  const target = await viewsOn(clickhouse, table, setting, signal);
  return { ...target, identity: `${table.version} ${target.identity}` };
}

export function unsuitable(name: string, problems: readonly TableProblem[]): OutboxError {
  return new OutboxError('OUTBOX_CH_TABLE_UNSUITABLE', {
    detail: `the table "${name}" cannot hold events exactly once`,
    problems: problems.map(({ found, alter }) => (alter === undefined ? found : `${found}: ALTER TABLE … ${alter}`)),
  });
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
      // a lightweight UPDATE has parts of its own, which are counted there and hold no rows of the table
      `SELECT toString(toInt64(ifNull(total_rows, 0)) - (SELECT toInt64(sum(rows)) FROM system.parts
                 WHERE active AND database = currentDatabase() AND table = {name:String} AND startsWith(name, 'patch-'))) AS rows
         FROM system.tables WHERE database = currentDatabase() AND name = {name:String}`,
      { name },
      signal,
    );
    const [visible] = await clickhouse.select<{ rows: string }>(
      'SELECT toString(count()) AS rows FROM {name:Identifier} SETTINGS apply_deleted_mask = 0, apply_mutations_on_fly = 0',
      { name },
      signal,
    );
    if (BigInt(visible!.rows) >= BigInt(held?.rows ?? '0')) return;
  }
  throw new OutboxError('OUTBOX_CH_ROWS_HIDDEN', {
    detail: `this account cannot see all rows of the table "${name}"`,
  });
}
