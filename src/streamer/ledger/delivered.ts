import { setTimeout as sleep } from 'node:timers/promises';
import { OutboxError } from '../../errors.ts';
import { formatLsn, parseLsn } from '../../lsn.ts';
import type { Lsn } from '../../lsn.ts';
import { PACKAGE_NAME } from '../../package.ts';
import { noLedger } from './row.ts';
import type { Database } from '../source/database.ts';

const POLL_MS = 200;

/** How far a slot's streamer says that it has delivered, and whether one holds the slot. */
export interface Reached {
  readonly lsn: Lsn;
  readonly isStreaming: boolean;
}

interface Row {
  exists: boolean;
  active: boolean;
  reached: string;
}

/**
 * Each of them says that what was committed before it is delivered: the slot's confirmed position; what the walsender was
 * told last, which needs pg_read_all_stats to be seen; what the streamer calls its other connection, once a second; and the
 * ledger, which is the first to know, but does not move when there is nothing to deliver. Throws OUTBOX_PG_NOT_MIGRATED.
 */
export async function deliveredTo(db: Database, slot: string): Promise<Reached> {
  const { rows } = await db.query<Row>(
    `SELECT s.slot_name IS NOT NULL AS exists, coalesce(s.active, false) AS active,
            greatest(l.delivered_lsn, s.confirmed_flush_lsn, w.replay_lsn,
                     substring(a.application_name FROM '^${PACKAGE_NAME} ([0-9A-F]+/[0-9A-F]+)$')::pg_lsn) AS reached
       FROM outbox.stream l
       LEFT JOIN pg_replication_slots s ON s.slot_name = l.slot_name
       LEFT JOIN pg_stat_replication w ON w.pid = s.active_pid
       LEFT JOIN pg_stat_activity a ON a.pid = l.holder_pid AND s.active
      WHERE l.slot_name = $1`,
    [slot],
  );
  const [row] = rows;
  if (row === undefined) throw noLedger(slot);
  return { lsn: parseLsn(row.reached), isStreaming: row.exists && row.active };
}

/**
 * Waits until everything before a position is delivered. Throws OUTBOX_VERIFY_NO_STREAMER or OUTBOX_VERIFY_BEHIND when it is
 * not within `waitMs`. With 0 it asks, and waits for nothing.
 */
export async function untilDelivered(db: Database, slot: string, lsn: Lsn, waitMs: number): Promise<Reached> {
  const end = performance.now() + waitMs;
  for (;;) {
    const reached = await deliveredTo(db, slot);
    if (waitMs === 0 || reached.lsn >= lsn) return reached;
    if (performance.now() > end) {
      const detail = `the slot "${slot}" is delivered up to ${formatLsn(reached.lsn)}, and not up to ${formatLsn(lsn)} within ${waitMs / 1000} s`;
      throw reached.isStreaming
        ? new OutboxError('OUTBOX_VERIFY_BEHIND', { detail })
        : new OutboxError('OUTBOX_VERIFY_NO_STREAMER', { detail: `${detail}: no streamer holds it` });
    }
    await sleep(POLL_MS);
  }
}
