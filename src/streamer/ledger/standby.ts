import { setTimeout as sleep } from 'node:timers/promises';
import { OutboxError } from '../../errors.ts';
import { PACKAGE_NAME } from '../../package.ts';
import type { Logger } from '../observe/log.ts';
import type { Readiness } from '../observe/readiness.ts';
import { SILENT_AFTER_MS } from '../observe/silence.ts';
import type { Database } from '../source/database.ts';
import { slotGone } from './row.ts';
import { checkSlot, slotForeign, type Slot } from '../source/slot.ts';

const POLL_MS = 500;

export interface StandbyOptions {
  readonly db: Database;
  readonly slot: string;
  readonly log: Logger;
  readonly readiness: Readiness;
  /** Is told of the slot at every check, the last one too: while nobody streams, nobody else checks it. */
  readonly onSlot: (slot: Slot) => void;
  readonly signal: AbortSignal;
  readonly stop: AbortSignal;
}

interface Signs {
  walsender: number;
  backend: number | null;
  replied: string | null;
  asked: string | null;
  /** A statement of its is under way in the server. */
  asking: boolean | null;
}

/**
 * Waits until nobody holds the slot. A standby takes over when the holder looks dead, that is without a sign of life on both of its
 * connections for SILENT_AFTER_MS: it terminates the holder's backends, which would wait for a host that vanished for longer than
 * anyone wants. If it was wrong, the old holder is fenced by the ledger's epoch, so nothing is delivered twice (invariant 5).
 *
 * Signs are compared with each other only, never with a clock: the holder's may be wrong.
 *
 * Throws OUTBOX_SLOT_BUSY when a stop is asked for, OUTBOX_SLOT_FOREIGN when the holder is no streamer, OUTBOX_SLOT_MISSING,
 * OUTBOX_DETACHED, OUTBOX_SLOT_INVALID and OutboxErrors OUTBOX_PG_*.
 */
export async function untilFree(options: StandbyOptions): Promise<void> {
  const { db, slot, log, readiness, onSlot, signal, stop } = options;
  let seen = '';
  let seenAt = performance.now();
  for (let waits = false; ; waits = true) {
    const found = await checkSlot(db, slot);
    if (found === undefined) throw await slotGone(db, slot);
    onSlot(found);
    if (found.activePid === undefined) return;
    // it would never hand the slot over
    if (found.foreignHolder !== undefined) throw slotForeign(slot, found.foreignHolder);
    readiness.standingBy();
    if (!waits) {
      log.info({ err: new OutboxError('OUTBOX_SLOT_BUSY'), walsender: found.activePid }, 'standing by');
    }
    const signs = await signsOfLife(db, slot);
    const text = JSON.stringify(signs);
    if (text !== seen) {
      seen = text;
      seenAt = performance.now();
    } else if (signs !== undefined && canJudge(signs) && performance.now() - seenAt > SILENT_AFTER_MS) {
      log.warn(
        { walsender: signs.walsender },
        'the holder of the slot gives no sign of life: terminating its connections',
      );
      await db.query('SELECT pg_terminate_backend(pid) FROM unnest($1::int[]) AS pid', [
        [signs.walsender, ...(signs.backend === null ? [] : [signs.backend])],
      ]);
      seen = '';
    }
    await sleep(POLL_MS, undefined, { signal: AbortSignal.any([signal, stop]) }).catch(() => undefined);
    signal.throwIfAborted();
    if (stop.aborted) throw new OutboxError('OUTBOX_SLOT_BUSY');
  }
}

/**
 * A statement that hangs in the server (a lock, a synchronous standby that is gone) says nothing about who waits for it. The
 * walsender's signs would, but only a role with pg_read_all_stats sees them.
 */
function canJudge({ replied, asking }: Signs): boolean {
  return replied !== null || asking !== true;
}

/** Undefined when this role may see none: connections of another role, or of another program, are not its to judge. */
async function signsOfLife(db: Database, slot: string): Promise<Signs | undefined> {
  const { rows } = await db.query<Signs>(
    `SELECT s.active_pid AS walsender, a.pid AS backend, r.reply_time::text AS replied, a.state_change::text AS asked,
            a.state = 'active' AS asking
       FROM pg_replication_slots s
       JOIN outbox.stream l ON l.slot_name = s.slot_name
       JOIN pg_stat_activity w ON w.pid = s.active_pid AND w.usename = current_user AND starts_with(w.application_name, $2)
       LEFT JOIN pg_stat_replication r ON r.pid = s.active_pid
       LEFT JOIN pg_stat_activity a ON a.pid = l.holder_pid AND a.usename = current_user AND a.datname = current_database()
            AND starts_with(a.application_name, $2)
      WHERE s.slot_name = $1 AND s.active_pid IS NOT NULL`,
    [slot, PACKAGE_NAME],
  );
  const [signs] = rows;
  return signs?.replied == null && signs?.asked == null ? undefined : signs;
}
