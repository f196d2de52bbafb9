import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { OutboxError } from '../../errors.ts';
import { DEFAULT_SCHEMA } from '../../schema-name.ts';
import type { Database } from './database.ts';
import { isStreamerConnection } from './streamer-connection.ts';

/** Held by who changes tables, publications and slots: `migrate` and `reshard`. Any number will do, as long as every version takes the same. */
export const MIGRATION_LOCK = 0x6f7574626f78;
/** Held by `erase`, and shared by those who compare both databases. */
export const ERASE_LOCK = 0x6f7574626f7a;

const POLL_MS = 500;

const KEY_BYTES = 6;

/** A lock is of one outbox: others in the database have others. */
function keyOf({ schema }: Database, key: number): number {
  if (schema === DEFAULT_SCHEMA) return key;
  return createHash('sha256').update(`${key} ${schema}`).digest().readUIntBE(0, KEY_BYTES);
}

/** Takes an advisory lock for as long as the connection lasts, if it is free. Any role can take it, so its holder is named. */
export async function tryLock(db: Database, key: number): Promise<boolean> {
  const { rows } = await db.query<{ mine: boolean }>('SELECT pg_try_advisory_lock($1) AS mine', [keyOf(db, key)]);
  return rows[0]!.mine;
}

/** The same beside others that share it. */
export async function tryLockShared(db: Database, key: number): Promise<boolean> {
  const { rows } = await db.query<{ mine: boolean }>('SELECT pg_try_advisory_lock_shared($1) AS mine', [
    keyOf(db, key),
  ]);
  return rows[0]!.mine;
}

export interface LockHolder {
  /** Such as `process 7 (role "app", application "psql")`. */
  readonly what: string;
  /** The statement that ends it. */
  readonly end: string;
  /** Whether it is this program, under a role that may write the ledger. */
  readonly isOurs: boolean;
  /** Since when there is its session, or its transaction is prepared; 0 where this role may not see it. */
  readonly seconds: number;
}

/** Who holds a lock: a session, or a prepared transaction, which has no process. Undefined when nobody does. */
export async function holderOfLock(db: Database, key: number): Promise<LockHolder | undefined> {
  const { rows } = await db.query<LockHolder>(
    `SELECT CASE WHEN p.gid IS NOT NULL THEN format('the prepared transaction "%s" of role "%s"', p.gid, p.owner)
                 ELSE format('process %s (role "%s", application "%s")', a.pid, a.usename, a.application_name) END AS what,
            CASE WHEN p.gid IS NOT NULL THEN format('ROLLBACK PREPARED %L', p.gid)
                 ELSE format('SELECT pg_terminate_backend(%s)', a.pid) END AS end,
            p.gid IS NULL AND ${isStreamerConnection('a')} AS "isOurs",
            coalesce(extract(epoch FROM clock_timestamp() - coalesce(p.prepared, a.backend_start)), 0)::float8 AS seconds
       FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
       LEFT JOIN pg_locks x ON l.pid IS NULL AND x.pid IS NULL AND x.locktype = 'transactionid' AND x.virtualtransaction = l.virtualtransaction
       LEFT JOIN pg_prepared_xacts p ON p.transaction = x.transactionid
      WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND l.classid::bigint = ($1::bigint >> 32) AND l.objid::bigint = ($1::bigint & 4294967295)
        AND (a.pid IS NOT NULL OR p.gid IS NOT NULL)
      ORDER BY "isOurs" LIMIT 1`,
    [keyOf(db, key)],
  );
  return rows[0];
}

/** The error of who may not go on beside whoever holds the lock of `erase`, or shares it. */
export async function eraseBusy(db: Database): Promise<OutboxError> {
  const holder = await holderOfLock(db, ERASE_LOCK);
  return new OutboxError('OUTBOX_ERASE_BUSY', holder === undefined ? {} : { detail: `${holder.what} holds its lock` });
}

/** Waits for the lock, and says for whom. Throws OUTBOX_PG_LOCKED after `waitMs`. */
export async function lock(db: Database, key: number, waitMs: number, onWait: (holder: string) => void): Promise<void> {
  const end = performance.now() + waitMs;
  let told: string | undefined;
  while (!(await tryLock(db, key))) {
    const holder = await holderOfLock(db, key);
    if (holder !== undefined && holder.what !== told) onWait((told = holder.what));
    if (performance.now() > end)
      throw new OutboxError('OUTBOX_PG_LOCKED', {
        detail: `the lock of migrations is held by ${holder?.what ?? told ?? 'somebody'}`,
        problems: holder === undefined ? [] : [holder.end],
      });
    await sleep(POLL_MS);
  }
}
