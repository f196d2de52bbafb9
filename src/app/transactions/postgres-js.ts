import { scrub } from '../failure.ts';
import { countOf, hasMethods, type Method, plain, type Refusal, refused, type Send } from './client.ts';

/**
 * The `sql` of postgres.js' `sql.begin((sql) => …)` or of its `savepoint`. The outer `sql` has no `savepoint`.
 *
 * It does not show that its transaction has ended. If you keep this `sql` and emit through it after the callback, Postgres
 * commits the event by itself.
 */
export interface PostgresJsTransaction {
  unsafe(query: string, parameters: (string | null)[], options: { prepare: boolean }): PromiseLike<unknown>;
  savepoint(callback: never): Promise<unknown>;
  readonly begin?: never;
}

const THE_SQL = "postgres.js' sql: pass the sql of its begin((sql) => …)";
/** A reserved connection has the same type. */
export interface PostgresJsSql extends Refusal<typeof THE_SQL> {
  readonly begin: Method;
  readonly unsafe: Method;
  readonly notify: Method;
}

export function openPostgresJs(tx: unknown): Send | undefined {
  if (!hasMethods(tx, 'unsafe', 'notify')) return undefined;
  if (hasMethods(tx, 'begin')) throw refused(THE_SQL);
  if (!hasMethods(tx, 'savepoint'))
    throw refused("a reserved connection: pass the sql of postgres.js' begin((sql) => …)");
  return sendByPostgresJs(tx as unknown as PostgresJsTransaction);
}

/**
 * The statement is prepared, as the tagged queries of postgres.js are. Where prepared statements fail, such as behind
 * PgBouncer, users set its option `prepare: false`, which overrides this one. Unprepared, postgres.js asks for the types of
 * the parameters first, which is a second round trip.
 */
function sendByPostgresJs(tx: PostgresJsTransaction): Send {
  return async (statement) => {
    try {
      const result = await tx.unsafe(statement.text, plain(statement), { prepare: true });
      return countOf(result, 'count');
    } catch (error) {
      // `begin` keeps the first error of its queries. If the caller ignores our error, `begin` throws that one.
      scrub(error);
      throw error;
    }
  };
}
