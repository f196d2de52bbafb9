import type { Lsn } from '../lsn.ts';
import { committedSecondsOf } from './batch/age.ts';
import type { Intake } from './batch/intake.ts';
import type { Ledger } from './ledger/ledger.ts';
import type { DeliveryLoop } from './loop.ts';
import type { Progress } from './observe/measures.ts';

/** What an attachment holds and how far it is. `walEnd` is where WAL ended at the last check. */
export function progressOf(
  intake: Intake,
  ledger: Pick<Ledger, 'state' | 'epoch'>,
  loop: Pick<DeliveryLoop, 'inFlight'>,
  walEnd: Lsn,
): Progress {
  const { inFlight } = loop;
  const { delivered, acked } = ledger.state;
  // whole transactions: of one that is delivered in part nobody knows how many bytes
  const done = Math.max(intake.ackable, acked);
  return {
    bufferedEvents: intake.rows + (inFlight?.rows ?? 0),
    bufferedBytes: intake.bytes + (inFlight?.bytes ?? 0),
    oldestSeconds: inFlight === undefined ? intake.oldestSeconds : committedSecondsOf(inFlight, 0),
    lagBytes: Math.max(0, Math.max(walEnd, intake.seen) - done),
    deliveredLsn: delivered.lsn,
    ackedLsn: acked,
    epoch: Number(ledger.epoch),
  };
}
