import { isPlainObject, kindOf } from '../problems.ts';
import { hasMethods, plain, refused, type Send } from './client.ts';

/**
 * The contract for every other client: a plain object whose `query` runs one statement in the open transaction, on its
 * connection, and fails when the statement does. `$1` to `$8` are its parameters, each a text or null.
 *
 * It is made for each transaction. `transaction: true` is the word of who makes it that this is none of a pool or a database:
 * a `query` alone is what those have as well, and modules around them.
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
  return (statement) => query.call(tx, statement.text, plain(statement));
}

/** The namespace of `import * as db`, also as bundlers make it: it lives as long as the process, as no transaction does. */
function isModule(value: object): boolean {
  return Reflect.get(value, Symbol.toStringTag) === 'Module';
}
