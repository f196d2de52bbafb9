import { setTimeout as sleep } from 'node:timers/promises';
import { isPrivilege, OutboxError, policyOf } from '../../errors.ts';
import { formatLsn, type Lsn } from '../../lsn.ts';
import { examine } from '../ledger/gap.ts';
import { holderOf } from '../ledger/holder.ts';
import { overviews, type LedgerOverview } from '../ledger/overview.ts';
import { missingShares } from '../ledger/shares.ts';
import type { Database } from '../source/database.ts';

const POLL_MS = 50;

/** Why it is not known that all streams of this outbox have delivered what was committed before a position. */
export interface Obstacle {
  readonly reason: string;
  /** It may be gone in a moment. */
  readonly passes: boolean;
}

/**
 * Waits, for `waitMs` at most and while `goesOn` says so, until every slot of outbox.stream has provably delivered all that was
 * committed before `lsn`; otherwise returns what it lacks. What is proved stays so, whatever becomes of a slot later.
 */
export async function proveDelivered(
  db: Database,
  lsn: Lsn,
  waitMs: number,
  goesOn: () => boolean,
): Promise<Obstacle | undefined> {
  const end = performance.now() + waitMs;
  for (;;) {
    const obstacle = await obstacleTo(db, lsn);
    if (obstacle === undefined || !obstacle.passes || performance.now() > end || !goesOn()) return obstacle;
    await sleep(POLL_MS);
  }
}

async function obstacleTo(db: Database, lsn: Lsn): Promise<Obstacle | undefined> {
  const ledgers = await overviews(db);
  if (ledgers.length === 0) return { reason: `${db.schema}.stream has no row`, passes: false };
  const missing = await missingShares(db);
  if (missing.length > 0)
    return {
      reason: `${db.schema}.stream has no row for ${missing.join(', ')}: nothing delivers its share`,
      passes: false,
    };
  // before gaps are looked for: a slot that is moved by hand seems to have delivered everything
  const behind: Obstacle[] = [];
  for (const { slot } of ledgers) {
    const { reached, walsender } = await holderOf(db, slot);
    if (reached >= lsn) continue;
    const isStreaming = walsender !== undefined;
    const holder = isStreaming ? '' : ': no streamer holds it';
    const reason = `the slot "${slot}" is delivered up to ${formatLsn(reached)}, and not up to ${formatLsn(lsn)}${holder}`;
    behind.push({ reason, passes: isStreaming });
  }
  for (const ledger of ledgers) {
    const gap = (await gapOf(db, ledger.slot)) ?? doubtOf(ledger);
    if (gap !== undefined) return { reason: `the slot "${ledger.slot}": ${gap}`, passes: false };
  }
  return behind.find(({ passes }) => !passes) ?? behind[0];
}

function doubtOf({ timeline, serverTimeline, isReadingBack }: LedgerOverview): string | undefined {
  if (timeline !== undefined && timeline !== serverTimeline) return 'no streamer has taken it over on this timeline';
  return isReadingBack ? 'what was delivered before is being looked for in ClickHouse' : undefined;
}

/** Without a slot, ledger and publication that fit together, which only an operator can restore, nothing is proved. */
async function gapOf(db: Database, slot: string): Promise<string | undefined> {
  try {
    return (await examine(db, slot)).gap;
  } catch (error) {
    if (error instanceof OutboxError && policyOf(error.code) === 'reconnect patiently' && !isPrivilege(error.code))
      return error.message;
    throw error;
  }
}
