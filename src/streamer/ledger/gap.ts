import { parseLsn } from '../../lsn.ts';
import { noLedger, sourceOf } from './row.ts';
import type { Database } from '../source/database.ts';
import { checkPublication } from '../source/publication.ts';
import { serverOf } from '../source/server.ts';
import type { Server } from '../source/server.ts';
import { checkSlot } from '../source/slot.ts';

/** What is known of a stream before it is repaired. */
export interface Examined {
  /** `<system identifier>/<slot>`. */
  readonly source: string;
  readonly publication: string;
  readonly slotExists: boolean;
  /** Why the slot does not stream what is missing; undefined when it does, and only ClickHouse may lack something. */
  readonly gap: string | undefined;
}

interface SlotRow {
  lost: boolean;
  confirmed: string | null;
}

interface LedgerRow {
  timeline: number | null;
  publication: string | null;
  acked: string | null;
  reached: string;
  repairing: boolean;
}

/**
 * Looks at slot, ledger and publication, in this order: beside a streamer that goes on, the slot is never ahead of what the
 * ledger allows a moment later. Throws OUTBOX_PG_NOT_MIGRATED, OUTBOX_SYSTEM_CHANGED, OUTBOX_PUBLICATION_MISSING, and
 * OUTBOX_SLOT_INVALID where the slot is somebody else's.
 */
export async function examine(db: Database, slot: string): Promise<Examined> {
  const source = await sourceOf(db, slot);
  const slots = await db.query<SlotRow>(
    `SELECT coalesce(wal_status = 'lost', false) AS lost, confirmed_flush_lsn AS confirmed
       FROM pg_replication_slots WHERE slot_name = $1`,
    [slot],
  );
  const [held] = slots.rows;
  if (held?.lost === false) await checkSlot(db, slot);
  const ledgers = await db.query<LedgerRow>(
    `SELECT timeline, publication, acked_lsn AS acked, coalesce(pending_lsn, delivered_lsn) AS reached,
            repair_began_at IS NOT NULL AS repairing
       FROM outbox.stream WHERE slot_name = $1`,
    [slot],
  );
  const [ledger] = ledgers.rows;
  if (ledger === undefined) throw noLedger(slot);
  // after the ledger, which is never ahead of WAL that is there
  const server = await serverOf(db);
  const { identity } = await checkPublication(db);
  return { source, publication: identity, slotExists: held !== undefined, gap: gapOf(held, ledger, server, identity) };
}

function gapOf(held: SlotRow | undefined, ledger: LedgerRow, server: Server, publication: string): string | undefined {
  if (ledger.repairing) return 'an earlier repair has not ended';
  if (held === undefined) return 'the slot does not exist';
  if (held.lost) return 'the slot is invalidated';
  if (ledger.publication !== null && ledger.publication !== publication) return 'the publication was changed';
  if (parseLsn(ledger.reached) > server.walEnd) return 'the ledger is ahead of the server’s WAL';
  const isSameTimeline = ledger.timeline === null || ledger.timeline === server.timeline;
  const isAhead = ledger.acked !== null && held.confirmed !== null && parseLsn(held.confirmed) > parseLsn(ledger.acked);
  if (isSameTimeline && isAhead) return 'the slot was made again or advanced by somebody else';
  return undefined;
}
