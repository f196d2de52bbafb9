import { OutboxError } from '../../errors.ts';
import { formatLsn, type Lsn } from '../../lsn.ts';
import type { Database } from '../source/database.ts';

/** Gives a slot that was just made, or was there, its ledger. */
export async function createLedger(db: Database, slot: string, publication: string): Promise<void> {
  await db.query(
    // records begin at multiples of eight: no commit stands before the slot's begin
    `INSERT INTO outbox.stream (slot_name, system_id, publication, acked_lsn, delivered_lsn)
     SELECT slot_name, system_identifier, $2, confirmed_flush_lsn, confirmed_flush_lsn - 1
       FROM pg_control_system(), pg_replication_slots WHERE slot_name = $1`,
    [slot, publication],
  );
}

/**
 * Takes the ledger away from any streamer, for as long as the repair lasts, and returns the new epoch. What was pending is
 * forgotten: a repair compares with ClickHouse.
 */
export async function beginRepair(db: Database, slot: string): Promise<string> {
  const { rows } = await db.query<{ epoch: string }>(
    `UPDATE outbox.stream
        SET epoch = epoch + 1, holder_pid = NULL, repair_began_at = coalesce(repair_began_at, now()),
            pending_lsn = NULL, pending_seq = NULL, pending_rows = NULL, pending_token = NULL,
            pending_at = NULL
      WHERE slot_name = $1 RETURNING epoch`,
    [slot],
  );
  return rows[0]!.epoch;
}

/** Hands the ledger back: everything before the new slot's begin is delivered. Throws OUTBOX_EPOCH_LOST. */
export async function endRepair(
  db: Database,
  slot: string,
  repaired: { epoch: string; publication: string; timeline: number; consistentLsn: Lsn },
): Promise<void> {
  const { count } = await db.query(
    `UPDATE outbox.stream
        SET epoch = epoch + 1, repair_began_at = NULL, read_back_below = NULL, timeline = $3, publication = $4,
            delivered_lsn = $5, delivered_seq = 0, acked_lsn = $6
      WHERE slot_name = $1 AND epoch = $2`,
    [
      slot,
      repaired.epoch,
      repaired.timeline,
      repaired.publication,
      // records begin at multiples of eight: no commit stands there
      formatLsn(repaired.consistentLsn - 1),
      formatLsn(repaired.consistentLsn),
    ],
  );
  if (count !== 1) throw new OutboxError('OUTBOX_EPOCH_LOST');
}
