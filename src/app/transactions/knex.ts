import { sendByLent } from './connections.ts';
import { hasMethods, type Method, notOpen, type Refusal, refused, type Send } from './client.ts';

/** The `trx` of Knex' `knex.transaction((trx) => …)` with the client pg, also a nested one. `knex` has no `isCompleted`. */
export interface KnexTransaction {
  isCompleted(): boolean;
  raw(sql: string): PromiseLike<unknown>;
  readonly client: { acquireConnection(): PromiseLike<unknown> };
}

const KNEX = 'knex: pass the trx of its transaction((trx) => …)';
export interface KnexItself extends Refusal<typeof KNEX> {
  readonly transaction: Method;
  readonly raw: Method;
  readonly schema: unknown;
  readonly client: unknown;
}

export function openKnex(tx: unknown): Send | undefined {
  if (!hasMethods(tx, 'raw', 'transaction') || !('client' in tx)) return undefined;
  if (!hasMethods(tx, 'isCompleted')) throw refused(KNEX);
  const trx = tx as unknown as KnexTransaction;
  if (trx.isCompleted()) throw notOpen();
  // The client of a transaction always gives the same connection.
  return sendByLent(() => trx.client.acquireConnection(), 'Knex');
}
