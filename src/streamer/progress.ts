import type { Lsn } from '../lsn.ts';
import { committedSecondsOf } from './batch/age.ts';
import type { Intake } from './batch/intake.ts';
import type { Ledger } from './ledger/ledger.ts';
import type { DeliveryLoop } from './loop.ts';
import type { Progress } from './observe/measures.ts';
import type { UnreadWal } from './source/unread-wal.ts';

/** What an attachment holds and how far it is. `walEnd` is where WAL ended at the last check; `unread` has its samples. */
export function progressOf(
  intake: Intake,
  ledger: Pick<Ledger, 'state' | 'epoch'>,
  loop: Pick<DeliveryLoop, 'inFlight'>,
  walEnd: Lsn,
  unread: UnreadWal,
): Progress {
  const { inFlight } = loop;
  const { delivered, acked } = ledger.state;
  // whole transactions: of one that is delivered in part nobody knows how many bytes
  const done = Math.max(intake.ackable, acked);
  const read = inFlight === undefined ? intake.oldestSeconds : committedSecondsOf(inFlight, 0);
  const unreadSeconds = unread.since(intake.seen);
  return {
    bufferedEvents: intake.rows + (inFlight?.rows ?? 0),
    bufferedBytes: intake.bytes + (inFlight?.bytes ?? 0),
    oldestSeconds: read === undefined ? unreadSeconds : Math.min(read, unreadSeconds ?? read),
    lagBytes: Math.max(0, Math.max(walEnd, intake.seen) - done),
    deliveredLsn: delivered.lsn,
    ackedLsn: acked,
    epoch: Number(ledger.epoch),
  };
}
