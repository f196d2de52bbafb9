import { kindOf } from '../problems.ts';
import { hasMethods, noTransaction, notOpen, refused, type Send } from './client.ts';

/**
 * A node-postgres client (pg ≥ 8.21) between an awaited BEGIN and its COMMIT or ROLLBACK. A Pool is not one: it sends
 * every query through whichever connection is free.
 *
 * The client knows the state of its transaction as of the last answered query, so await BEGIN before and COMMIT after:
 * with a BEGIN still under way the event is refused, and behind a COMMIT that was sent but not awaited it would be
 * committed by itself.
 */
export interface PgTransaction {
  query(text: string, values: (string | null)[]): Promise<unknown>;
  getTransactionStatus(): string | null;
}

export function openPg(tx: unknown): Send | undefined {
  if (isPg(tx)) {
    requireOpen(tx);
    return sendByPg(tx);
  }
  // TypeORM's QueryRunner has these as well
  if (!hasMethods(tx, 'query', 'connect') || hasMethods(tx, 'startTransaction')) return undefined;
  const name = kindOf(tx);
  if ('totalCount' in tx) throw refused(`${name}, a pool: pass a client of it, after BEGIN`);
  throw refused(`${name}, a client that can't tell its transaction: pg ≥ 8.21 can`);
}

export function isPg(value: unknown): value is PgTransaction {
  return hasMethods(value, 'query', 'getTransactionStatus');
}

/**
 * Statements are not named, although a named one would be parsed once a connection: behind a pooler that hands out
 * connections by transaction and does not track names (PgBouncer without max_prepared_statements), or after DISCARD ALL, it would fail and
 * take the caller's transaction with it.
 */
export function sendByPg(client: PgTransaction): Send {
  // hidden as they are: pg asks them what goes over the wire
  const asking = client as { query(text: string, values: unknown[]): Promise<unknown> };
  return ({ untyped, values }) => asking.query(untyped, [...values]);
}

export function requireOpen(client: PgTransaction): void {
  // https://www.postgresql.org/docs/current/protocol-message-formats.html, ReadyForQuery
  const status = client.getTransactionStatus();
  if (status === 'T') return;
  if (status !== 'E') throw notOpen();
  throw noTransaction('The transaction has already failed, so Postgres accepts nothing but ROLLBACK.');
}
