import type { Pool } from 'pg';
import { eventually } from './wait.ts';

const KEY = 1717;
/** Other databases of the server have tables and locks of the same numbers. */
const HERE = 'database = (SELECT oid FROM pg_database WHERE datname = current_database())';
/** Who is killed may be the server. */
const quiet = (): void => undefined;

/** Which write of the ledger is held: before it is done, or when its transaction commits. */
export type Held = 'INSERT' | 'UPDATE' | 'DELETE' | 'COMMIT';

function trigger(held: Held, table: string, condition: string): string {
  return held === 'COMMIT'
    ? `CREATE CONSTRAINT TRIGGER held AFTER UPDATE ON ${table} DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (${condition})`
    : `CREATE TRIGGER held BEFORE ${held} ON ${table} FOR EACH ROW WHEN (${condition})`;
}

/**
 * Holds the write of the ledger, or of another table, that makes `condition` (over OLD and NEW) true, on the server and for as long as it takes to kill who
 * sent it. Its outcome is unknown to that one: with `commits` it is executed afterwards, otherwise never.
 */
export async function killAt(
  pool: Pool,
  condition: string,
  commits: boolean,
  kill: () => void | Promise<void>,
  held: Held = 'UPDATE',
  table = 'outbox.stream',
): Promise<void> {
  const client = await pool.connect();
  client.on('error', quiet);
  try {
    await client.query(
      `CREATE OR REPLACE FUNCTION public.held() RETURNS trigger LANGUAGE plpgsql
         AS $$ BEGIN PERFORM pg_catalog.pg_advisory_xact_lock_shared(${KEY}); RETURN coalesce(NEW, OLD); END $$`,
    );
    await client.query('SELECT pg_advisory_lock($1)', [KEY]);
    await client.query(`${trigger(held, table, condition)} EXECUTE FUNCTION public.held()`);
    const waiting = `SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = ${KEY} AND NOT granted AND ${HERE}`;
    await eventually(
      `an UPDATE by which ${condition}`,
      async () => (await client.query(waiting)).rowCount === 1,
      60_000,
    );
    await kill();
    if (!commits) await client.query(`SELECT pg_terminate_backend(pid) FROM (${waiting}) AS held`);
    await client.query('SELECT pg_advisory_unlock($1)', [KEY]);
    await eventually('its end', async () => {
      const left = await client.query(
        `SELECT FROM pg_locks WHERE relation = $1::regclass AND mode = 'RowExclusiveLock' AND ${HERE}`,
        [table],
      );
      return left.rowCount === 0;
    });
    await client.query(`DROP TRIGGER held ON ${table}`);
  } finally {
    client.off('error', quiet);
    client.release();
  }
}
