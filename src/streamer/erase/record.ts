import type { Lsn } from '../../lsn.ts';
import { formatLsn } from '../../lsn.ts';
import { writeIgnored } from '../ledger/row.ts';
import type { Database } from '../source/database.ts';
import { digestOf, type Filter } from './filter.ts';

/** A row of outbox.erasure. */
export interface Erasure {
  readonly id: string;
  readonly reason: string;
  readonly begunBy: string;
  /** `2026-11-30 21:00:00.000000`, in UTC. */
  readonly begunAt: string;
  /** SHA-256 of its filter, see digestOf. */
  readonly filter: string;
  /** An earlier call has begun it, and was ended. */
  readonly isResumed: boolean;
}

const COLUMNS = `id::text AS id, reason, begun_by AS "begunBy", filter,
                 to_char(begun_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') AS "begunAt"`;

/** The erasure of this filter that has begun and not ended. */
export async function unfinished(db: Database, filter: Filter): Promise<Erasure | undefined> {
  const { rows } = await db.query<Omit<Erasure, 'isResumed'>>(
    `SELECT ${COLUMNS} FROM outbox.erasure WHERE ended_at IS NULL ORDER BY begun_at`,
  );
  const found = rows.find((row) => row.filter === digestOf(row.id, filter));
  return found && { ...found, isResumed: true };
}

/** Notes that an erasure begins. Throws OUTBOX_PG_WRITE_IGNORED. */
export async function begin(db: Database, id: string, filter: Filter, reason: string): Promise<Erasure> {
  const { rows } = await db.query<Omit<Erasure, 'isResumed'>>(
    `INSERT INTO outbox.erasure (id, filter, reason) VALUES ($1, $2, $3) RETURNING ${COLUMNS}`,
    [id, digestOf(id, filter), reason],
  );
  if (rows[0] === undefined) throw writeIgnored(db, 'erasure');
  return { ...rows[0], isResumed: false };
}

/** All that it has removed from Postgres was committed before this position. Throws OUTBOX_PG_WRITE_IGNORED. */
export async function noteFence(db: Database, { id }: Erasure, lsn: Lsn): Promise<void> {
  const { count } = await db.query('UPDATE outbox.erasure SET before_lsn = $2 WHERE id = $1', [id, formatLsn(lsn)]);
  if (count !== 1) throw writeIgnored(db, 'erasure');
}

/** What is left of its events. */
export interface Tombstones {
  readonly events: number;
  /** SHA-256 over the digests, in order, in hex. */
  readonly digest: string;
}

/** Throws OUTBOX_PG_WRITE_IGNORED. */
export async function end(db: Database, { id }: Erasure, { events, digest }: Tombstones): Promise<void> {
  const { count } = await db.query(
    'UPDATE outbox.erasure SET ended_at = clock_timestamp(), events = $2, tombstones = $3 WHERE id = $1',
    [id, events, digest],
  );
  if (count !== 1) throw writeIgnored(db, 'erasure');
}
