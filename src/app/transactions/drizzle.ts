import { kindOf } from '../problems.ts';
import { countOf, hasMethods, type Method, type Refusal, refused, type Send } from './client.ts';
import { isPg, requireOpen } from './pg.ts';
import { openPostgresJs } from './postgres-js.ts';

/**
 * The `tx` of drizzle's `db.transaction((tx) => …)` over node-postgres or postgres.js, also a nested one (a savepoint). `db` is
 * not one: it has no `rollback`.
 */
export interface DrizzleTransaction {
  execute(query: string): PromiseLike<unknown>;
  refreshMaterializedView(view: never): unknown;
  rollback(): never;
}

const A_DATABASE = 'a database of drizzle: pass the tx of its transaction((tx) => …)';
export interface DrizzleDatabase extends Refusal<typeof A_DATABASE> {
  readonly execute: Method;
  readonly refreshMaterializedView: Method;
  readonly transaction: Method;
}

/** What drizzle's `execute` takes besides a string: the part of its SQL objects that it uses, without importing drizzle. */
interface DrizzleQuery {
  getSQL(): { toQuery(): { sql: string; params: unknown[] } };
}

/** Only drizzle for Postgres has `refreshMaterializedView`: its other dialects and other ORMs do not. */
export function openDrizzle(tx: unknown): Send | undefined {
  if (!hasMethods(tx, 'execute', 'refreshMaterializedView')) return undefined;
  if (!hasMethods(tx, 'rollback')) throw refused(`${kindOf(tx)}, ${A_DATABASE}`);
  const client = clientOf(tx);
  if (isPg(client)) {
    requireOpen(client);
    return sendByDrizzle(tx as unknown as DrizzleTransaction);
  }
  const send = openPostgresJs(client);
  if (send !== undefined) return send;
  throw refused(`a drizzle transaction over ${kindOf(client)}, not over node-postgres (pg ≥ 8.21) or postgres.js`);
}

/** Sends through drizzle, so that its logger sees the statement, with labels instead of values. */
function sendByDrizzle(tx: DrizzleTransaction): Send {
  return async ({ untyped, values }) => {
    const query: DrizzleQuery = { getSQL: () => ({ toQuery: () => ({ sql: untyped, params: [...values] }) }) };
    const executing = (tx as { execute(query: string | DrizzleQuery): PromiseLike<unknown> }).execute(query);
    return countOf(await executing, 'rowCount');
  };
}

/**
 * The client beneath a drizzle transaction, which is not in its types. If a later version of drizzle keeps it elsewhere, this
 * is undefined. The transaction is then refused, because nothing shows whether it is open.
 */
function clientOf(tx: object): unknown {
  return (tx as { session?: { client?: unknown } }).session?.client;
}
