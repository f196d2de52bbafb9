import { setTimeout as sleep } from 'node:timers/promises';
import { OutboxError } from '../../errors.ts';
import type { ErrorCode } from '../../errors.ts';
import { formatLsn } from '../../lsn.ts';
import type { Lsn } from '../../lsn.ts';
import { deliveredTo } from '../ledger/delivered.ts';
import type { Database } from '../source/database.ts';
import { examine } from '../ledger/gap.ts';

const POLL_MS = 50;
/** Without a slot, ledger and publication that fit together nothing is proved. */
const GAPS: ReadonlySet<ErrorCode> = new Set([
  'OUTBOX_PG_NOT_MIGRATED',
  'OUTBOX_SYSTEM_CHANGED',
  'OUTBOX_SLOT_INVALID',
  'OUTBOX_PUBLICATION_MISSING',
]);

/** Why it is not known that all streams of this outbox have delivered what was committed before a position. */
export interface Obstacle {
  readonly reason: string;
  /** It may be gone in a moment. */
  readonly passes: boolean;
}

interface StreamRow {
  slot: string;
  moved: boolean | null;
  looking: boolean;
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
  const { rows } = await db.query<StreamRow>(
    `SELECT slot_name AS slot, read_back_below IS NOT NULL AS looking,
            timeline <> ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int AS moved
       FROM outbox.stream ORDER BY slot_name`,
  );
  if (rows.length === 0) return { reason: 'outbox.stream has no row', passes: false };
  // before gaps are looked for: a slot that is moved by hand seems to have delivered everything
  const behind: Obstacle[] = [];
  for (const { slot } of rows) {
    const { lsn: reached, isStreaming } = await deliveredTo(db, slot);
    if (reached >= lsn) continue;
    const holder = isStreaming ? '' : ': no streamer holds it';
    const reason = `the slot "${slot}" is delivered up to ${formatLsn(reached)}, and not up to ${formatLsn(lsn)}${holder}`;
    behind.push({ reason, passes: isStreaming });
  }
  for (const { slot, moved, looking } of rows) {
    const gap =
      (await gapOf(db, slot)) ??
      (moved === true
        ? 'no streamer has taken it over on this timeline'
        : looking
          ? 'what was delivered before is being looked for in ClickHouse'
          : undefined);
    if (gap !== undefined) return { reason: `the slot "${slot}": ${gap}`, passes: false };
  }
  return behind.find(({ passes }) => !passes) ?? behind[0];
}

async function gapOf(db: Database, slot: string): Promise<string | undefined> {
  try {
    return (await examine(db, slot)).gap;
  } catch (error) {
    if (error instanceof OutboxError && GAPS.has(error.code)) return error.message;
    throw error;
  }
}
