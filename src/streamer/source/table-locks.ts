import { OutboxError } from '../../errors.ts';
import type { Database } from './database.ts';
import { EVENT_TABLES } from './event-table.ts';

/** lock_not_available: by lock_timeout. */
const LOCK_TIMEOUT = '55P03';

/** Somebody who keeps every other session from a table of the outbox. */
export interface TableLock {
  readonly table: string;
  /** Undefined where it is a prepared transaction. */
  readonly pid: number | undefined;
  /** Such as `process 7 (role "app", application "psql") holds a lock on outbox.stream`. */
  readonly what: string;
}

/** Who holds ACCESS EXCLUSIVE on a table of the outbox, or waits for it: others queue behind both. Waits for nobody. Throws OUTBOX_PG_*. */
export async function tableLocks(db: Database): Promise<TableLock[]> {
  const { rows } = await db.query<{ table: string; pid: number | null; what: string }>(
    `SELECT c.oid::regclass::text AS table, l.pid,
            format('%s %s a lock on %s', coalesce(format('process %s (role "%s", application "%s")', l.pid, a.usename, a.application_name), 'a prepared transaction'),
                   CASE WHEN l.granted THEN 'holds' ELSE 'waits for' END, c.oid::regclass) AS what
       FROM pg_locks l JOIN pg_class c ON c.oid = l.relation LEFT JOIN pg_stat_activity a ON a.pid = l.pid
      WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock' AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND c.relkind IN ('r', 'p') AND (c.relnamespace = to_regnamespace('outbox') OR c.oid IN ${EVENT_TABLES})
      ORDER BY l.granted DESC, 1`,
  );
  return rows.map(({ table, pid, what }) => ({ table, pid: pid ?? undefined, what }));
}

/** Whether a statement was given up because somebody else holds a lock. */
export function isLocked(error: unknown): error is OutboxError {
  return error instanceof OutboxError && error.sqlState === LOCK_TIMEOUT;
}

/** The error of a statement that met a lock, with its holder: OUTBOX_PG_LOCKED. Any other error as it is. */
export async function nameLock(db: Database, error: unknown): Promise<unknown> {
  if (!isLocked(error)) return error;
  const locks = await tableLocks(db);
  const detail =
    locks.length === 0 ? 'a lock on a table was held, and is free now' : locks.map(({ what }) => what).join('; ');
  return new OutboxError('OUTBOX_PG_LOCKED', { detail, sqlState: LOCK_TIMEOUT });
}
