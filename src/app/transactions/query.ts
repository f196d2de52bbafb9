import { isPlainObject } from '../problems.ts';
import { hasMethods, plain, type Send } from './client.ts';

/**
 * The contract for every other client: a plain object whose `query` runs one statement in the open transaction, on its
 * connection, and fails when the statement does. `$1` to `$8` are its parameters, each a text or null.
 *
 * It is made for each transaction, as `{ query: (sql, params) => … }`, and never is a pool, a client or a database itself:
 * those are refused by the types for what else they have, and at run time because they are no plain objects.
 */
export interface QueryTransaction {
  readonly query: (sql: string, params: (string | null)[]) => PromiseLike<unknown>;
  readonly connect?: never;
  readonly end?: never;
  readonly close?: never;
  readonly destroy?: never;
  readonly release?: never;
  readonly begin?: never;
  readonly transaction?: never;
  readonly on?: never;
}

const OF_A_CLIENT = ['connect', 'end', 'close', 'destroy', 'release', 'begin', 'transaction', 'on'];

export function openQuery(tx: unknown): Send | undefined {
  if (!hasMethods(tx, 'query') || typeof tx !== 'object' || !isPlainObject(tx)) return undefined;
  if (OF_A_CLIENT.some((name) => name in tx)) return undefined;
  const { query } = tx as unknown as QueryTransaction;
  return (statement) => query.call(tx, statement.text, plain(statement));
}
