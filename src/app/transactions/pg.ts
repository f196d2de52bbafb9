import { kindOf } from '../problems.ts';
import { countOf, hasMethods, noTransaction, notOpen, type Refusal, refused, type Send } from './client.ts';

/**
 * A node-postgres client (pg ≥ 8.21) between an awaited BEGIN and its COMMIT or ROLLBACK. A Pool is not one: it sends
 * each query through any free connection.
 *
 * The client knows the state of its transaction from the last answered query, so await BEGIN and COMMIT. While BEGIN is not
 * answered, the event is refused. An event that follows a COMMIT without an answer would be committed by itself.
 */
export interface PgTransaction {
  query(text: string, values: (string | null)[]): Promise<unknown>;
  getTransactionStatus(): string | null;
}

const A_POOL = 'a pool: pass a client of it, after BEGIN';
export interface PgPool extends Refusal<typeof A_POOL> {
  readonly totalCount: number;
  readonly idleCount: number;
  readonly waitingCount: number;
}

export function openPg(tx: unknown): Send | undefined {
  if (isPg(tx)) {
    requireOpen(tx);
    return sendByPg(tx);
  }
  // TypeORM's QueryRunner has these methods too.
  if (!hasMethods(tx, 'query', 'connect') || hasMethods(tx, 'startTransaction')) return undefined;
  const name = kindOf(tx);
  if ('totalCount' in tx) throw refused(`${name}, ${A_POOL}`);
  throw refused(`${name}, a client that can't tell its transaction: pg ≥ 8.21 can`);
}

export function isPg(value: unknown): value is PgTransaction {
  return hasMethods(value, 'query', 'getTransactionStatus');
}

/**
 * The statements have no names, although Postgres would parse a named one only once a connection. A pooler that assigns
 * connections by transaction may not track names (PgBouncer without max_prepared_statements), and DISCARD ALL drops them.
 * A named statement would then fail and abort the caller's transaction.
 */
export function sendByPg(client: PgTransaction): Send {
  // The parameters stay hidden: pg calls their `toPostgres`.
  const asking = client as { query(text: string, values: unknown[]): Promise<unknown> };
  return async ({ untyped, values }) => countOf(await asking.query(untyped, [...values]), 'rowCount');
}

export function requireOpen(client: PgTransaction): void {
  // https://www.postgresql.org/docs/current/protocol-message-formats.html, ReadyForQuery
  const status = client.getTransactionStatus();
  if (status === 'T') return;
  if (status !== 'E') throw notOpen();
  throw noTransaction('The transaction has already failed, so Postgres accepts nothing but ROLLBACK.');
}
