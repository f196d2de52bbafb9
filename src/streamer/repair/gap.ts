import { OutboxError } from '../../errors.ts';
import { parseLsn } from '../../lsn.ts';
import type { Database } from '../postgres.ts';
import { checkPublication, checkSlot } from '../source/slot.ts';

/** What is known of a stream before it is repaired. */
export interface Examined {
  /** `<system identifier>/<slot>`. */
  readonly source: string;
  readonly publication: string;
  readonly slotExists: boolean;
  /** Why the slot does not stream what is missing; undefined when it does, and only ClickHouse may lack something. */
  readonly gap: string | undefined;
}

interface Row {
  system_id: string;
  actual: string;
  publication: string | null;
  acked: string | null;
  reached: string;
  wal_end: string;
  repairing: boolean;
  same_timeline: boolean;
  exists: boolean;
  lost: boolean;
  confirmed: string | null;
}

/**
 * Looks at ledger, slot and publication. Throws OUTBOX_PG_NOT_MIGRATED, OUTBOX_SYSTEM_CHANGED, OUTBOX_PUBLICATION_MISSING, and
 * OUTBOX_SLOT_INVALID where the slot is somebody else's.
 */
export async function examine(db: Database, slot: string): Promise<Examined> {
  const { rows } = await db.query<Row>(
    `SELECT l.system_id, c.system_identifier::text AS actual, l.publication, l.acked_lsn AS acked,
            coalesce(l.pending_lsn, l.delivered_lsn) AS reached, pg_current_wal_flush_lsn() AS wal_end,
            l.repair_began_at IS NOT NULL AS repairing,
            l.timeline IS NULL OR l.timeline = ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int AS same_timeline,
            s.slot_name IS NOT NULL AS exists, coalesce(s.wal_status = 'lost', false) AS lost, s.confirmed_flush_lsn AS confirmed
       FROM outbox.stream l CROSS JOIN pg_control_system() c
       LEFT JOIN pg_replication_slots s ON s.slot_name = l.slot_name
      WHERE l.slot_name = $1`,
    [slot],
  );
  const [row] = rows;
  if (row === undefined)
    throw new OutboxError('OUTBOX_PG_NOT_MIGRATED', { detail: `outbox.stream has no row for the slot "${slot}"` });
  if (row.system_id !== row.actual) throw new OutboxError('OUTBOX_SYSTEM_CHANGED');
  if (row.exists && !row.lost) await checkSlot(db, slot);
  const { identity } = await checkPublication(db);
  return {
    source: `${row.system_id}/${slot}`,
    publication: identity,
    slotExists: row.exists,
    gap: gapOf(row, identity),
  };
}

function gapOf(row: Row, publication: string): string | undefined {
  const lsn = (text: string | null): number => (text === null ? 0 : parseLsn(text));
  if (row.repairing) return 'an earlier repair has not ended';
  if (!row.exists) return 'the slot does not exist';
  if (row.lost) return 'the slot is invalidated';
  if (row.publication !== null && row.publication !== publication) return 'the publication was changed';
  if (lsn(row.reached) > lsn(row.wal_end)) return 'the ledger is ahead of the server’s WAL';
  if (row.same_timeline && row.acked !== null && lsn(row.confirmed) > lsn(row.acked))
    return 'the slot was made again or advanced by somebody else';
  return undefined;
}
