import { OutboxError } from '../../errors.ts';
import { kindOf } from '../problems.ts';
import { readSettings } from '../settings.ts';

/** Runs a statement and gives its rows, each an object by the names of its columns. */
export type QueryFunction = (sql: string, params: unknown[]) => PromiseLike<readonly object[]>;

interface Result {
  readonly rows: readonly object[];
}

/** A client or pool of `pg`, a drizzle database or transaction over it, or a function for everything else. */
export type Queryable =
  | { query(sql: string, params: unknown[]): PromiseLike<Result> }
  | { execute(sql: string): PromiseLike<Result> }
  | QueryFunction;

/**
 * Runs a statement without parameters.
 *
 * @throws OutboxError OUTBOX_TEST_UNSUPPORTED when `on` cannot run a statement, or gives no rows; whatever the driver throws
 */
export async function ask<Row extends object>(on: Queryable, sql: string): Promise<readonly Row[]> {
  const answer: unknown = await send(on, sql);
  const rows: unknown = typeof answer === 'object' && answer !== null && 'rows' in answer ? answer.rows : answer;
  if (Array.isArray(rows)) return rows as Row[];
  throw new OutboxError('OUTBOX_TEST_UNSUPPORTED', {
    detail: `The query was answered with ${kindOf(rows)}, not with rows.`,
  });
}

function send(on: unknown, sql: string): unknown {
  if (typeof on === 'function') return on(sql, []) as unknown;
  if (typeof on === 'object' && on !== null) {
    if ('execute' in on && typeof on.execute === 'function') return on.execute(sql) as unknown;
    if ('query' in on && typeof on.query === 'function') return on.query(sql, []) as unknown;
  }
  throw new OutboxError('OUTBOX_TEST_UNSUPPORTED', { detail: `Postgres cannot be asked through ${kindOf(on)}.` });
}

/** @throws OutboxError OUTBOX_CONFIG_INVALID where it can be no outbox's */
export function schemaIn({ schema }: { readonly schema?: string | undefined }): string {
  return readSettings(schema === undefined ? process.env : { OUTBOX_SCHEMA: schema }).schema;
}
