import { OutboxError } from '../../errors.ts';
import { parseLsn, type Lsn } from '../../lsn.ts';
import type { Database } from '../source/database.ts';
import { checkPublication } from '../source/publication.ts';
import { serverOf } from '../source/server.ts';
import { checkSlot, FOREIGN_HOLDER, slotForeign } from '../source/slot.ts';
import { overviewOf, type LedgerOverview } from './overview.ts';
import { noLedger } from './row.ts';
import { publicationFault } from './unreadable.ts';

/** What is known of a stream before it is repaired, or relied upon. */
export interface Examined {
  readonly source: string;
  /** See KnownAs. */
  readonly movedAtMs: number;
  /** The ledger was written for another server. */
  readonly isMoved: boolean;
  readonly publication: string;
  readonly slotExists: boolean;
  /** Why the slot does not stream what is missing; undefined when it does, and only ClickHouse may lack something. */
  readonly gap: string | undefined;
}

interface HeldSlot {
  readonly isLost: boolean;
  readonly isTwoPhase: boolean;
  readonly confirmed: Lsn | undefined;
}

/**
 * Examines slot, ledger and publication, in this order: beside a streamer that goes on, the slot is never ahead of what the
 * ledger allows a moment later. A ledger of another server is refused, unless that was detached, or `isMoved` says that nobody
 * delivers from there any more. Throws OUTBOX_PG_NOT_MIGRATED, OUTBOX_SYSTEM_CHANGED, OUTBOX_PUBLICATION_MISSING, and
 * OUTBOX_SLOT_INVALID where the slot is somebody else's, OUTBOX_SLOT_FOREIGN where another program holds it.
 */
export async function examine(db: Database, slot: string, isMoved = false): Promise<Examined> {
  const held = await heldSlot(db, slot);
  const usable = held?.isLost === false && !held.isTwoPhase ? await checkSlot(db, slot) : undefined;
  if (usable?.foreignHolder !== undefined) throw slotForeign(slot, usable.foreignHolder);
  const ledger = await overviewOf(db, slot);
  if (ledger === undefined) throw noLedger(db, slot);
  if (!ledger.isOfThisSystem && !ledger.isDetached && !isMoved) throw new OutboxError('OUTBOX_SYSTEM_CHANGED');
  // after the ledger, which is never ahead of WAL that is there
  const { walEnd } = await serverOf(db);
  const { identity } = await checkPublication(db, slot);
  const gap = gapOf(held, ledger, walEnd, identity);
  return {
    source: ledger.source,
    movedAtMs: ledger.movedAtMs,
    isMoved: !ledger.isOfThisSystem,
    publication: identity,
    slotExists: held !== undefined,
    gap,
  };
}

/** `checkSlot` refuses a slot that is lost, or decodes prepared transactions, which a repair can deal with. */
async function heldSlot(db: Database, slot: string): Promise<HeldSlot | undefined> {
  const { rows } = await db.query<{
    lost: boolean;
    confirmed: string | null;
    ours: boolean;
    home: string | null;
    two_phase: boolean;
    pid: number | null;
    foreign_holder: string | null;
  }>(
    `SELECT coalesce(wal_status = 'lost', false) AS lost, confirmed_flush_lsn AS confirmed,
            coalesce(database = current_database() AND plugin = 'pgoutput', false) AS ours, database AS home,
            two_phase AND NOT temporary AS two_phase, active_pid AS pid, ${FOREIGN_HOLDER} AS foreign_holder
       FROM pg_replication_slots s WHERE slot_name = $1`,
    [slot],
  );
  const [row] = rows;
  if (row === undefined) return undefined;
  // a copy of the database must not drop the original's
  if (!row.ours)
    throw new OutboxError('OUTBOX_SLOT_INVALID', {
      detail: `the slot "${slot}" belongs to ${row.home === null ? 'no database' : `the database "${row.home}"`}, or has another plugin`,
    });
  if (row.two_phase && row.pid !== null && row.foreign_holder !== null)
    throw slotForeign(slot, { pid: row.pid, what: row.foreign_holder });
  return {
    isLost: row.lost,
    isTwoPhase: row.two_phase,
    confirmed: row.confirmed === null ? undefined : parseLsn(row.confirmed),
  };
}

function gapOf(
  held: HeldSlot | undefined,
  ledger: LedgerOverview,
  walEnd: Lsn,
  publication: string,
): string | undefined {
  const { acked, delivered, pending, timeline, serverTimeline } = ledger;
  if (ledger.isDetached) return 'the stream is detached';
  if (!ledger.isOfThisSystem) return 'the stream comes from another server';
  if (ledger.isRepairing) return 'an earlier repair has not ended';
  if (held === undefined) return 'the slot does not exist';
  if (held.isLost) return 'the slot is invalidated';
  if (held.isTwoPhase) return 'the slot decodes prepared transactions (two_phase)';
  const fault = ledger.publication === undefined ? undefined : publicationFault(ledger.publication, publication);
  if (fault?.code === 'OUTBOX_PG_TABLE_CHANGED') return 'WAL holds events that cannot be read there';
  if (fault !== undefined) return 'the publication was changed';
  if ((pending?.lsn ?? delivered.lsn) > walEnd) return 'the ledger is ahead of the server’s WAL';
  const isSameTimeline = timeline === undefined || timeline === serverTimeline;
  const isAhead = acked !== undefined && held.confirmed !== undefined && held.confirmed > acked;
  if (isSameTimeline && isAhead) return 'the slot was made again or advanced by somebody else';
  return undefined;
}
