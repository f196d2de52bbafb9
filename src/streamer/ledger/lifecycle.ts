import { formatLsn, parseLsn, type Lsn } from '../../lsn.ts';
import type { Database } from '../source/database.ts';
import { notWritten, SERVER_TIMELINE, writeIgnored, type Pending } from './row.ts';

/** Gives a slot that was just made, or was there, its ledger. Throws OUTBOX_PG_WRITE_IGNORED. */
export async function createLedger(db: Database, slot: string, publication: string): Promise<void> {
  const { count } = await db.query(
    // records begin at multiples of eight: no commit stands before the slot's begin
    `INSERT INTO outbox.stream (slot_name, system_id, timeline, source, publication, acked_lsn, delivered_lsn)
     SELECT slot_name, system_identifier, ${SERVER_TIMELINE}, system_identifier || '/' || slot_name, $2,
            confirmed_flush_lsn, confirmed_flush_lsn - 1
       FROM pg_control_system(), pg_replication_slots WHERE slot_name = $1`,
    [slot, publication],
  );
  if (count !== 1) throw writeIgnored(db, 'stream');
}

/**
 * Takes the ledger away from any streamer, for as long as the repair lasts. Returns the new epoch, and when the insert was intended
 * that is pending, a streamer's or an earlier repair's, in ms since 1970. Throws OUTBOX_PG_WRITE_IGNORED.
 */
export async function beginRepair(
  db: Database,
  slot: string,
): Promise<{ readonly epoch: string; readonly pendingAtMs: number | undefined }> {
  const { rows } = await db.query<{ epoch: string; pending_at: Date | null; begun: boolean }>(
    `UPDATE outbox.stream
        SET epoch = epoch + 1, holder_pid = NULL, repair_began_at = coalesce(repair_began_at, now())
      WHERE slot_name = $1 RETURNING epoch, pending_at, repair_began_at IS NOT NULL AS begun`,
    [slot],
  );
  const [row] = rows;
  if (row?.begun !== true) throw writeIgnored(db, 'stream');
  const { epoch, pending_at: pendingAt } = row;
  return { epoch, pendingAtMs: pendingAt?.getTime() };
}

/** Records an insert of the repair, for the next one in case that this one is killed. Throws OUTBOX_EPOCH_LOST, OUTBOX_PG_WRITE_IGNORED. */
export async function recordRepair(
  db: Database,
  slot: string,
  epoch: string,
  { to, rows, token, atMs }: Pending,
): Promise<void> {
  const { count } = await db.query(
    `UPDATE outbox.stream
        SET pending_lsn = $3, pending_seq = $4, pending_rows = $5, pending_token = $6, pending_at = $7
      WHERE slot_name = $1 AND epoch = $2`,
    [slot, epoch, formatLsn(to.lsn), to.seq, rows, token, new Date(atMs)],
  );
  if (count !== 1) throw await notWritten(db, slot, epoch);
}

/**
 * Takes the ledger from all streamers until a repair, once nothing is pending and all that was committed before `lsn` is delivered,
 * and nothing else. Returns how far it is delivered; undefined where that is not so.
 */
export async function detach(db: Database, slot: string, lsn: Lsn): Promise<Lsn | undefined> {
  const { rows } = await db.query<{ acked: string }>(
    `UPDATE outbox.stream SET epoch = epoch + 1, holder_pid = NULL, detached_at = now()
      WHERE slot_name = $1 AND acked_lsn >= $2 AND pending_lsn IS NULL AND repair_began_at IS NULL AND detached_at IS NULL
      RETURNING acked_lsn AS acked`,
    [slot, formatLsn(lsn)],
  );
  const [row] = rows;
  return row === undefined ? undefined : parseLsn(row.acked);
}

/**
 * Hands the ledger back, on this server: everything before the new slot's begin is delivered. Throws OUTBOX_EPOCH_LOST,
 * OUTBOX_PG_WRITE_IGNORED.
 */
export async function endRepair(
  db: Database,
  slot: string,
  repaired: {
    readonly epoch: string;
    readonly publication: string;
    readonly systemId: string;
    readonly timeline: number;
    readonly consistentLsn: Lsn;
    /** See KnownAs. */
    readonly movedAtMs: number;
  },
): Promise<void> {
  const { count } = await db.query(
    `UPDATE outbox.stream
        SET epoch = epoch + 1, repair_began_at = NULL, detached_at = NULL, read_back_below = NULL, timeline = $3, publication = $4,
            pending_lsn = NULL, pending_seq = NULL, pending_rows = NULL, pending_token = NULL, pending_at = NULL,
            delivered_lsn = $5, delivered_seq = 0, acked_lsn = $6, system_id = $7, moved_at = $8,
            begins_lsn = CASE WHEN system_id = $7 THEN begins_lsn END
      WHERE slot_name = $1 AND epoch = $2`,
    [
      slot,
      repaired.epoch,
      repaired.timeline,
      repaired.publication,
      // records begin at multiples of eight: no commit stands there
      formatLsn(repaired.consistentLsn - 1),
      formatLsn(repaired.consistentLsn),
      repaired.systemId,
      repaired.movedAtMs === 0 ? null : new Date(repaired.movedAtMs),
    ],
  );
  if (count !== 1) throw await notWritten(db, slot, repaired.epoch);
}
