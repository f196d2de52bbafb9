import { OutboxError } from '../../errors.ts';
import { formatLsn, parseLsn, type Lsn } from '../../lsn.ts';
import type { Database } from '../source/database.ts';
import { serverOf } from '../source/server.ts';
import { COLUMNS, notTaken, severalRows, writeIgnored, type Row } from './row.ts';
import { publicationFault } from './unreadable.ts';

/** SQLSTATE of a subquery that found more than one row: cardinality_violation. */
const SEVERAL_ROWS = '21000';

/** What the ledger must fit: the server, as the walsender says (IDENTIFY_SYSTEM), the slot and the publication. */
export interface SlotIdentity {
  readonly systemId: string;
  readonly timeline: number;
  readonly confirmedLsn: Lsn;
  /** The slot came with a failover, and may be ahead of a ledger that lags. */
  readonly isSynced: boolean;
  /** The publication's identity, see PublicationWatch. */
  readonly publication: string;
}

/** The row of a ledger that is ours now. */
export interface Taken extends Row {
  /** As the row was before; null where it was on none. */
  is_new_timeline: boolean | null;
  /** A trigger may have kept the row as it was. */
  is_taken: boolean | null;
}

/**
 * Takes the ledger over with a new epoch: whoever held it before can write no intent any more. To be called only while
 * holding the slot. The row is what the UPDATE itself returns: a row read before it could be older than a write of the
 * former holder.
 *
 * On a new timeline (failover, restore to a point in time) the row may lag behind what was delivered and acknowledged: its
 * pending insert is forgotten, and all that was written before is read back. Only a slot that Postgres has synchronised is
 * believed to be confirmed as it should be: one that was made by hand has a gap.
 *
 * Throws OUTBOX_PG_NOT_MIGRATED, OUTBOX_SYSTEM_CHANGED, OUTBOX_TIMELINE_DIFFERS, OUTBOX_PUBLICATION_CHANGED, OUTBOX_PG_TABLE_CHANGED,
 * OUTBOX_POSITION_BEYOND_WAL, OUTBOX_SLOT_CHANGED, OUTBOX_DETACHED, OUTBOX_REPAIR_UNFINISHED, OUTBOX_PG_WRITE_IGNORED.
 */
export async function takeOver(db: Database, slot: string, identity: SlotIdentity): Promise<Taken> {
  // asked here, not of the replication connection: behind a proxy that may be another server
  const server = await serverOf(db);
  if (server.timeline !== identity.timeline) {
    throw new OutboxError('OUTBOX_TIMELINE_DIFFERS', {
      detail: `the server is on timeline ${server.timeline}, the walsender on ${identity.timeline}`,
    });
  }
  const row =
    (await tryTake(db, slot, identity, server.walEnd)) ?? (await takeAgain(db, slot, identity, server.walEnd));
  if (row.is_taken === false) throw writeIgnored(db, 'stream');
  const fault = publicationFault(row.publication, identity.publication);
  if (fault !== undefined) throw fault;
  if (row.publication !== identity.publication)
    await db.query('UPDATE outbox.stream SET publication = $3 WHERE slot_name = $1 AND epoch = $2', [
      slot,
      row.epoch,
      identity.publication,
    ]);
  const reached = row.pending_lsn ?? row.delivered_lsn;
  if (parseLsn(reached) > parseLsn(row.wal_end)) {
    throw new OutboxError('OUTBOX_POSITION_BEYOND_WAL', {
      detail: `the ledger is at ${reached}, the server’s WAL ends at ${row.wal_end}`,
    });
  }
  const acked = parseLsn(row.acked_lsn);
  if (identity.confirmedLsn > acked) {
    throw new OutboxError('OUTBOX_SLOT_CHANGED', {
      detail: `the slot is confirmed up to ${formatLsn(identity.confirmedLsn)}, but nothing beyond ${formatLsn(acked)} was acknowledged`,
    });
  }
  return row;
}

/** What was in the way may have ended before it was asked for, as a repair does. Throws why the row cannot be taken. */
async function takeAgain(db: Database, slot: string, identity: SlotIdentity, walEnd: Lsn): Promise<Taken> {
  const why = await notTaken(db, slot);
  const row = why.code === 'OUTBOX_PG_WRITE_IGNORED' ? await tryTake(db, slot, identity, walEnd) : undefined;
  if (row === undefined) throw why;
  return row;
}

/** Undefined where something is in the way. */
async function tryTake(db: Database, slot: string, identity: SlotIdentity, walEnd: Lsn): Promise<Taken | undefined> {
  const taking = db.query<Taken>(
    `UPDATE outbox.stream
        SET epoch = epoch + 1, holder_pid = pg_backend_pid(), refused = NULL, refused_at = NULL,
            timeline = $3, publication = coalesce(publication, $4),
            read_back_below = CASE WHEN timeline <> $3 THEN $5 ELSE read_back_below END,
            acked_lsn = CASE WHEN (timeline <> $3 AND $7) OR acked_lsn IS NULL THEN $6 ELSE acked_lsn END,
            pending_lsn = CASE WHEN timeline <> $3 THEN NULL ELSE pending_lsn END,
            pending_seq = CASE WHEN timeline <> $3 THEN NULL ELSE pending_seq END,
            pending_rows = CASE WHEN timeline <> $3 THEN NULL ELSE pending_rows END,
            pending_token = CASE WHEN timeline <> $3 THEN NULL ELSE pending_token END,
            pending_at = CASE WHEN timeline <> $3 THEN NULL ELSE pending_at END
      WHERE slot_name = $1 AND system_id = $2 AND repair_began_at IS NULL AND detached_at IS NULL
      RETURNING ${COLUMNS}, epoch > (SELECT was.epoch FROM outbox.stream was WHERE was.slot_name = $1) AS is_taken,
                (SELECT was.timeline <> $3 FROM outbox.stream was WHERE was.slot_name = $1) AS is_new_timeline`,
    [
      slot,
      identity.systemId,
      identity.timeline,
      identity.publication,
      formatLsn(walEnd),
      formatLsn(identity.confirmedLsn),
      identity.isSynced,
    ],
  );
  const { rows } = await taking.catch((error: unknown) => {
    throw error instanceof OutboxError && error.sqlState === SEVERAL_ROWS ? severalRows(slot) : error;
  });
  return rows[0];
}
