import type { Database } from './database.ts';

/** A transaction that has written and does not end: the slot keeps WAL since it began. */
export interface OpenTransaction {
  /** Whose it is; no text of a query. */
  readonly what: string;
  readonly seconds: number;
  /** The statement that ends it. */
  readonly end: string;
}

/** Prepared ones count too: they outlive every session. Throws OUTBOX_PG_*. */
export async function oldestTransaction(db: Database): Promise<OpenTransaction | undefined> {
  const { rows } = await db.query<OpenTransaction>(
    `SELECT * FROM (
       SELECT format('process %s (role "%s", application "%s")', pid, usename, application_name) AS what,
              extract(epoch FROM clock_timestamp() - xact_start)::float8 AS seconds, format('SELECT pg_terminate_backend(%s)', pid) AS end
         FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND xact_start IS NOT NULL AND backend_type = 'client backend'
        UNION ALL
       SELECT format('the prepared transaction "%s" of role "%s"', gid, owner),
              extract(epoch FROM clock_timestamp() - prepared)::float8, format('ROLLBACK PREPARED %L', gid)
         FROM pg_prepared_xacts WHERE database = current_database()) AS open
      ORDER BY seconds DESC LIMIT 1`,
  );
  return rows[0];
}

/** How many sessions have written without this role's seeing since when: it lacks pg_read_all_stats. Throws OUTBOX_PG_*. */
export async function unseenTransactions(db: Database): Promise<number> {
  const { count } = await db.query('SELECT FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND xact_start IS NULL');
  return count;
}
