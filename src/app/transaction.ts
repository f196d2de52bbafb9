import { OutboxError } from '../errors.ts';
import { Hidden } from './hidden.ts';
import { kindOf } from './problems.ts';
import type { Statement } from './statement.ts';

/**
 * A node-postgres client (pg ≥ 8.21) between an awaited BEGIN and its COMMIT or ROLLBACK. A Pool is not one: it sends
 * every query through whichever connection is free.
 *
 * The client knows the state of its transaction as of the last answered query, so await BEGIN before and COMMIT after:
 * with a BEGIN still under way the event is refused, and behind a COMMIT that was sent but not awaited it would be
 * committed by itself.
 */
export interface PgTransaction {
  query(text: string, values: unknown[]): Promise<unknown>;
  getTransactionStatus(): string | null;
}

/**
 * The `tx` of drizzle's `db.transaction((tx) => …)` over node-postgres, also a nested one (a savepoint). A database has
 * no `rollback`, so `db` is not one.
 */
export interface DrizzleTransaction {
  execute(
    query: string,
  ): PromiseLike<{ readonly command: string; readonly rowCount: number | null; readonly rows: unknown[] }>;
  refreshMaterializedView(view: never): unknown;
  rollback(): never;
}

/** The transaction in which an event is emitted: the one that makes the change which the event tells of. */
export type Transaction = PgTransaction | DrizzleTransaction;

/** Sends one statement within the transaction; what it answers is not read. */
export type Send = (statement: Statement) => PromiseLike<unknown>;

/** What drizzle's `execute` takes besides a string: all it needs of its SQL objects, without importing drizzle. */
interface DrizzleQuery {
  getSQL(): { toQuery(): { sql: string; params: unknown[] } };
}

/**
 * Makes sure that a transaction is open, as far as the client can tell, and gives the way to send a statement in it.
 *
 * Statements are not named, although a named one would be parsed once a connection: behind a pooler that hands out
 * connections by transaction and does not track names (PgBouncer without max_prepared_statements), or after DISCARD ALL, it would fail and
 * take the caller's transaction with it.
 *
 * @throws OutboxError OUTBOX_NO_TRANSACTION when it is a pool, a database handle or something unknown, or when the
 *   transaction has not begun, has failed or has ended
 */
export function open(tx: Transaction): Send {
  if (isPg(tx)) {
    requireOpen(tx.getTransactionStatus());
    return ({ text, values }) => tx.query(text, [...values]);
  }
  if (isDrizzle(tx)) {
    const client = drizzleClient(tx);
    if (client === undefined) return drizzleSend(tx, (value) => (value instanceof Hidden ? value.toPostgres() : value));
    if (!isPg(client))
      throw refused(`a drizzle transaction over ${kindOf(client)}, not over a client of node-postgres (pg ≥ 8.21)`);
    requireOpen(client.getTransactionStatus());
    return drizzleSend(tx, (value) => value);
  }
  throw refused(describe(tx));
}

function drizzleSend(tx: DrizzleTransaction, parameter: (value: unknown) => unknown): Send {
  return ({ text, values }) => {
    const params = values.map(parameter);
    const query: DrizzleQuery = { getSQL: () => ({ toQuery: () => ({ sql: text, params }) }) };
    return (tx as { execute(query: string | DrizzleQuery): PromiseLike<unknown> }).execute(query);
  };
}

function requireOpen(status: string | null): void {
  // https://www.postgresql.org/docs/current/protocol-message-formats.html, ReadyForQuery
  if (status === 'T') return;
  throw new OutboxError('OUTBOX_NO_TRANSACTION', {
    detail:
      status === 'E'
        ? 'The transaction has already failed, so Postgres accepts nothing but ROLLBACK. No SQL was sent.'
        : 'The client is not in a transaction: BEGIN is missing or was not awaited, or the transaction has ended. No SQL was sent.',
  });
}

function refused(given: string): OutboxError {
  return new OutboxError('OUTBOX_NO_TRANSACTION', {
    detail: `An open transaction is needed, but this was given: ${given}. No SQL was sent.`,
  });
}

function isPg(value: unknown): value is PgTransaction {
  return hasMethods(value, 'query', 'getTransactionStatus');
}

/** `refreshMaterializedView` tells drizzle for Postgres from other ORMs that have an `execute` and a `rollback`. */
function isDrizzle(value: unknown): value is DrizzleTransaction {
  return hasMethods(value, 'execute', 'rollback', 'refreshMaterializedView');
}

/** The client beneath a drizzle transaction: not in its types, and undefined should a later version keep it elsewhere. */
function drizzleClient(tx: object): unknown {
  return (tx as { session?: { client?: unknown } }).session?.client;
}

/** Says what was given, by its class alone, and what to pass instead where that is clear. */
function describe(value: unknown): string {
  const name = kindOf(value);
  if (hasMethods(value, 'execute', 'transaction'))
    return `${name}, a database: pass the tx of its transaction((tx) => …)`;
  if (hasMethods(value, 'query', 'connect') && 'totalCount' in Object(value))
    return `${name}, a pool: pass a client of it, after BEGIN`;
  if (hasMethods(value, 'query', 'connect')) return `${name}, a client that can't tell its transaction: pg ≥ 8.21 can`;
  return name;
}

function hasMethods(value: unknown, ...names: string[]): boolean {
  if ((typeof value !== 'object' && typeof value !== 'function') || value === null) return false;
  return names.every((name) => typeof Reflect.get(value, name) === 'function');
}
