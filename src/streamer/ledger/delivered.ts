import { setTimeout as sleep } from 'node:timers/promises';
import { OutboxError } from '../../errors.ts';
import { formatLsn, type Lsn } from '../../lsn.ts';
import type { Database } from '../source/database.ts';
import { holderOf } from './holder.ts';

const POLL_MS = 200;

/**
 * Waits until everything before a position is delivered, and returns how far that is. Throws OUTBOX_VERIFY_NO_STREAMER or
 * OUTBOX_VERIFY_BEHIND when it is not within `waitMs`. With 0 it asks, and waits for nothing.
 *
 * @param onWait is called before it waits, if it has to
 */
export async function untilDelivered(
  db: Database,
  slot: string,
  lsn: Lsn,
  waitMs: number,
  onWait?: () => void,
): Promise<Lsn> {
  const end = performance.now() + waitMs;
  let isTold = false;
  for (;;) {
    const { reached, walsender } = await holderOf(db, slot);
    if (waitMs === 0 || reached >= lsn) return reached;
    if (performance.now() > end) {
      const detail = `the slot "${slot}" is delivered up to ${formatLsn(reached)}, and not up to ${formatLsn(lsn)} within ${waitMs / 1000} s`;
      throw walsender !== undefined
        ? new OutboxError('OUTBOX_VERIFY_BEHIND', { detail })
        : new OutboxError('OUTBOX_VERIFY_NO_STREAMER', { detail: `${detail}: no streamer holds it` });
    }
    if (!isTold) onWait?.();
    isTold = true;
    await sleep(POLL_MS);
  }
}
