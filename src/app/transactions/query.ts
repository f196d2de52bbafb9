import { isPlainObject, kindOf } from '../problems.ts';
import { countOf, hasMethods, plain, refused, type Send } from './client.ts';

/**
 * The contract for every other client: a plain object whose `query` runs one statement in the open transaction, on its
 * connection, and fails when the statement does. `$1` to `$8` are its parameters, each a text or null. Where it gives an object with a number
 * `rowCount`, that is compared with the number of events.
 *
 * Make one for each transaction. With `transaction: true` you confirm that `query` belongs to a transaction, not to a pool or a
 * database: those, and modules around them, have a `query` too.
 */
export interface QueryTransaction {
  readonly transaction: true;
  readonly query: (sql: string, params: (string | null)[]) => PromiseLike<unknown>;
}

export function openQuery(tx: unknown): Send | undefined {
  if (!hasMethods(tx, 'query')) return undefined;
  if (typeof tx !== 'object' || !isPlainObject(tx) || isModule(tx) || Reflect.get(tx, 'transaction') !== true)
    throw refused(
      `${isModule(tx) ? 'a module' : kindOf(tx)}, with a query that may be of a pool: where it runs on the connection of the open transaction, pass { transaction: true, query: (sql, params) => … }`,
    );
  const { query } = tx as unknown as QueryTransaction;
  return async (statement) => countOf(await query.call(tx, statement.text, plain(statement)), 'rowCount');
}

/** Whether it is the namespace of `import * as db`, also as bundlers make it. It outlives every transaction. */
function isModule(value: object): boolean {
  return Reflect.get(value, Symbol.toStringTag) === 'Module';
}
