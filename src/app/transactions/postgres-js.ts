import { scrub } from '../failure.ts';
import { hasMethods, plain, refused, type Send } from './client.ts';

/**
 * The `sql` of postgres.js' `sql.begin((sql) => …)` or of its `savepoint`. The outer `sql` has no `savepoint`.
 *
 * It can't tell when its transaction is over: an event emitted through a `sql` that was kept beyond its callback is
 * committed by itself.
 */
export interface PostgresJsTransaction {
  unsafe(query: string, parameters: (string | null)[], options: { prepare: boolean }): PromiseLike<unknown>;
  savepoint(callback: never): Promise<unknown>;
  readonly begin?: never;
}

export function openPostgresJs(tx: unknown): Send | undefined {
  if (!hasMethods(tx, 'unsafe', 'notify')) return undefined;
  if (hasMethods(tx, 'begin')) throw refused("postgres.js' sql: pass the sql of its begin((sql) => …)");
  if (!hasMethods(tx, 'savepoint'))
    throw refused("a reserved connection: pass the sql of postgres.js' begin((sql) => …)");
  return sendByPostgresJs(tx as unknown as PostgresJsTransaction);
}

/**
 * Prepared, as its tagged queries are: where names do no good, such as behind PgBouncer, its option `prepare: false` stands
 * above this one. Unprepared it asks for the types of the parameters first, which is a second round trip.
 */
function sendByPostgresJs(tx: PostgresJsTransaction): Send {
  return async (statement) => {
    try {
      return await tx.unsafe(statement.text, plain(statement), { prepare: true });
    } catch (error) {
      // `begin` keeps the first error of its queries, and throws it to a caller who goes on after ours
      scrub(error);
      throw error;
    }
  };
}
