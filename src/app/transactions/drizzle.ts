import { kindOf } from '../problems.ts';
import { hasMethods, refused, type Send } from './client.ts';
import { isPg, requireOpen } from './pg.ts';
import { openPostgresJs } from './postgres-js.ts';

/**
 * The `tx` of drizzle's `db.transaction((tx) => …)` over node-postgres or postgres.js, also a nested one (a savepoint). A
 * database has no `rollback`, so `db` is not one.
 */
export interface DrizzleTransaction {
  execute(query: string): PromiseLike<unknown>;
  refreshMaterializedView(view: never): unknown;
  rollback(): never;
}

/** What drizzle's `execute` takes besides a string: all it needs of its SQL objects, without importing drizzle. */
interface DrizzleQuery {
  getSQL(): { toQuery(): { sql: string; params: unknown[] } };
}

/** `refreshMaterializedView` tells drizzle for Postgres from its other dialects and from other ORMs. */
export function openDrizzle(tx: unknown): Send | undefined {
  if (!hasMethods(tx, 'execute', 'refreshMaterializedView')) return undefined;
  if (!hasMethods(tx, 'rollback'))
    throw refused(`${kindOf(tx)}, a database of drizzle: pass the tx of its transaction((tx) => …)`);
  const client = clientOf(tx);
  if (isPg(client)) {
    requireOpen(client);
    return sendByDrizzle(tx as unknown as DrizzleTransaction);
  }
  const send = openPostgresJs(client);
  if (send !== undefined) return send;
  throw refused(`a drizzle transaction over ${kindOf(client)}, not over node-postgres (pg ≥ 8.21) or postgres.js`);
}

/** Through drizzle, so that its logger sees the statement: with labels in the place of its values. */
function sendByDrizzle(tx: DrizzleTransaction): Send {
  return ({ untyped, values }) => {
    const query: DrizzleQuery = { getSQL: () => ({ toQuery: () => ({ sql: untyped, params: [...values] }) }) };
    return (tx as { execute(query: string | DrizzleQuery): PromiseLike<unknown> }).execute(query);
  };
}

/**
 * The client beneath a drizzle transaction: not in its types. Undefined should a later version keep it elsewhere, and then
 * refused: whether the transaction is open would be anyone's guess.
 */
function clientOf(tx: object): unknown {
  return (tx as { session?: { client?: unknown } }).session?.client;
}
