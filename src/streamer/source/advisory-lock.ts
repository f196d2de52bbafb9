import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { OutboxError } from '../../errors.ts';
import { DEFAULT_SCHEMA } from '../../schema-name.ts';
import type { Database } from './database.ts';

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

/** The process that holds a lock, as `process 7 (role "app", application "psql")`; undefined when nobody does. */
export async function holderOfLock(db: Database, key: number): Promise<string | undefined> {
  const { rows } = await db.query<{ holder: string }>(
    `SELECT format('process %s (role "%s", application "%s")', a.pid, a.usename, a.application_name) AS holder
       FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
      WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND l.classid::bigint = ($1::bigint >> 32) AND l.objid::bigint = ($1::bigint & 4294967295)`,
    [keyOf(db, key)],
  );
  return rows[0]?.holder;
}

/** Waits for the lock, and says for whom. Throws OUTBOX_PG_LOCKED after `waitMs`. */
export async function lock(db: Database, key: number, waitMs: number, onWait: (holder: string) => void): Promise<void> {
  const end = performance.now() + waitMs;
  let told: string | undefined;
  while (!(await tryLock(db, key))) {
    const holder = await holderOfLock(db, key);
    if (holder !== undefined && holder !== told) onWait((told = holder));
    if (performance.now() > end)
      throw new OutboxError('OUTBOX_PG_LOCKED', {
        detail: `the lock of migrations is held by ${holder ?? told ?? 'somebody'}`,
      });
    await sleep(POLL_MS);
  }
}
