import { setTimeout as sleep } from 'node:timers/promises';
import { OutboxError } from '../../errors.ts';
import { formatLsn } from '../../lsn.ts';
import type { Lsn } from '../../lsn.ts';
import type { Database } from '../source/database.ts';

const DROP_POLL_MS = 200;
const DROP_TIMEOUT_MS = 60_000;

/**
 * Takes the ledger away from any streamer, for as long as the repair lasts, and returns the new epoch. What was pending is
 * forgotten: who repairs compares with ClickHouse.
 */
export async function beginRepair(db: Database, slot: string): Promise<string> {
  const { rows } = await db.query<{ epoch: string }>(
    `UPDATE outbox.stream
        SET epoch = epoch + 1, holder_pid = NULL, repair_began_at = coalesce(repair_began_at, now()),
            pending_lsn = NULL, pending_seq = NULL, pending_rows = NULL, pending_inserts = 1, pending_token = NULL,
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

/** Drops a slot that cannot be trusted, once nobody holds it. Throws OUTBOX_SLOT_BUSY. */
export async function dropSlot(db: Database, slot: string): Promise<void> {
  const end = performance.now() + DROP_TIMEOUT_MS;
  for (;;) {
    try {
      await db.query('SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1', [
        slot,
      ]);
      return;
    } catch (error) {
      if (!(error instanceof OutboxError) || error.code !== 'OUTBOX_SLOT_BUSY' || performance.now() > end) throw error;
      await sleep(DROP_POLL_MS);
    }
  }
}
