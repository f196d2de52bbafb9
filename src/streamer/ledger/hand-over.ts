import { OutboxError } from '../../errors.ts';
import { formatLsn, type Lsn } from '../../lsn.ts';
import type { Database } from '../source/database.ts';
import { SERVER_TIMELINE } from './row.ts';

/** From where on other slots deliver: each transaction either commits before the position, and the snapshot sees it, or neither. */
export interface Boundary {
  readonly lsn: Lsn;
  /** As pg_current_snapshot() gives it. */
  readonly snapshot: string;
}

/**
 * Lets no streamer of these slots deliver or acknowledge what is committed from now on, which others may deliver: it goes on up to
 * there. The epoch fences those that know nothing of it.
 */
export async function endForNow(db: Database, slots: readonly string[]): Promise<void> {
  await transaction(db, async () => {
    // with the rows locked, nothing is intended or acknowledged that is not in WAL by then
    await db.query('SELECT FROM outbox.stream WHERE slot_name = ANY($1) ORDER BY slot_name FOR UPDATE', [slots]);
    const { count } = await db.query(
      `UPDATE outbox.stream SET epoch = epoch + 1, holder_pid = NULL, ends_lsn = pg_current_wal_insert_lsn()
        WHERE slot_name = ANY($1) AND ends_in IS NULL AND repair_began_at IS NULL`,
      [slots],
    );
    if (count !== slots.length) throw new OutboxError('OUTBOX_REPAIR_UNFINISHED');
  });
}

/** Takes that back: nobody else delivers. */
export async function goOn(db: Database, slots: readonly string[]): Promise<void> {
  await db.query(
    'UPDATE outbox.stream SET epoch = epoch + 1, holder_pid = NULL, ends_lsn = NULL WHERE slot_name = ANY($1) AND ends_in IS NULL',
    [slots],
  );
}

/**
 * Has other slots deliver from the boundary on, all at once. They exist, and begin before it: their ledgers say that what comes before
 * is delivered.
 *
 * @param publications of the other slots, see PublicationCheck
 */
export async function handOver(
  db: Database,
  formers: readonly string[],
  publications: ReadonlyMap<string, string>,
  { lsn, snapshot }: Boundary,
): Promise<void> {
  await transaction(db, async () => {
    const ended = await db.query(
      `UPDATE outbox.stream SET epoch = epoch + 1, holder_pid = NULL, ends_lsn = $2, ends_in = $3, ends_at = now()
        WHERE slot_name = ANY($1) AND ends_lsn <= $2 AND ends_in IS NULL AND repair_began_at IS NULL`,
      [formers, formatLsn(lsn), snapshot],
    );
    const begun = await db.query(
      // records begin at multiples of eight: no commit stands before the boundary
      `INSERT INTO outbox.stream (slot_name, system_id, timeline, source, publication, acked_lsn, delivered_lsn, begins_lsn, begins_in, begins_at, moved_at)
       SELECT s.slot_name, system_identifier, ${SERVER_TIMELINE},
              -- on whatever server the outbox was before
              (SELECT regexp_replace(min(source), '_[0-9]+_of_[0-9]+$', '') FROM outbox.stream WHERE slot_name = ANY($6))
                || coalesce(substring(s.slot_name FROM '_[0-9]+_of_[0-9]+$'), ''),
              p.identity, confirmed_flush_lsn, $3, $5, $4, now(), (SELECT max(moved_at) FROM outbox.stream WHERE slot_name = ANY($6))
         FROM pg_control_system(), pg_replication_slots s
         JOIN unnest($1::text[], $2::text[]) AS p(slot_name, identity) ON p.slot_name = s.slot_name
        WHERE confirmed_flush_lsn <= $5`,
      [[...publications.keys()], [...publications.values()], formatLsn(lsn - 1), snapshot, formatLsn(lsn), formers],
    );
    if (ended.count !== formers.length || begun.count !== publications.size)
      throw new OutboxError('OUTBOX_SHARD_UNFINISHED', {
        detail: 'a slot or a row of the ledger was changed meanwhile',
      });
  });
}

/** Forgets slots that have delivered all that is theirs. */
export async function forget(db: Database, slots: readonly string[]): Promise<void> {
  await db.query('DELETE FROM outbox.stream WHERE slot_name = ANY($1) AND ends_in IS NOT NULL', [slots]);
}

async function transaction(db: Database, work: () => Promise<void>): Promise<void> {
  await db.query('BEGIN');
  try {
    await work();
    await db.query('COMMIT');
  } catch (error) {
    await db.query('ROLLBACK').catch(() => undefined);
    throw error;
  }
}
