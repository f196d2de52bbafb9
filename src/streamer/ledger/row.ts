import { OutboxError } from '../../errors.ts';
import { formatLsn, parseLsn, type Lsn } from '../../lsn.ts';
import type { Database } from '../source/database.ts';
import { serverOf } from '../source/server.ts';
import { slotMissing } from '../source/slot.ts';
import type { Position } from '../../position.ts';

/** What may be under way: rows of the range (delivered, to]. */
export interface Pending {
  readonly to: Position;
  readonly rows: number;
  readonly token: string;
  /** The intent's time, ms since 1970. */
  readonly atMs: number;
}

export interface LedgerState {
  readonly delivered: Position;
  readonly pending: Pending | undefined;
  /** No flush LSN beyond it may be told to Postgres. */
  readonly acked: Lsn;
  /** Batches that begin below it may be in ClickHouse already, whatever the rest says: they are read back first. */
  readonly readBackBelow: Lsn;
  /** The server's version and the identity of the table that was delivered into. */
  readonly target: string | undefined;
}

/** The row of outbox.stream as the driver gives it. */
export interface Row {
  epoch: string;
  source: string;
  moved_at: Date | null;
  timeline: number;
  publication: string;
  delivered_lsn: string;
  delivered_seq: string;
  pending_lsn: string | null;
  pending_seq: string | null;
  pending_rows: number | null;
  pending_token: string | null;
  pending_at: Date | null;
  read_back_below: string | null;
  target: string | null;
  acked_lsn: string;
  ends_lsn: string | null;
  wal_end: string;
}

/** SQL: the timeline that the server is on. The name of a WAL file begins with it, in hexadecimal. */
export const SERVER_TIMELINE = `('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int`;

export const COLUMNS = `epoch, source, moved_at, timeline, publication, delivered_lsn, delivered_seq, pending_lsn, pending_seq, pending_rows,
                 pending_token, pending_at, read_back_below, target, acked_lsn, ends_lsn,
                 pg_current_wal_flush_lsn() AS wal_end`;

export function ledgerStateOf(row: Row): LedgerState {
  const { pending_lsn: lsn, pending_seq: seq, pending_rows: rows, pending_token: token, pending_at: at } = row;
  return {
    delivered: { lsn: parseLsn(row.delivered_lsn), seq: Number(row.delivered_seq) },
    pending:
      lsn === null || seq === null || rows === null || token === null || at === null
        ? undefined
        : { to: { lsn: parseLsn(lsn), seq: Number(seq) }, rows, token, atMs: at.getTime() },
    acked: parseLsn(row.acked_lsn),
    readBackBelow: row.read_back_below === null ? 0 : parseLsn(row.read_back_below),
    target: row.target ?? undefined,
  };
}

/** The values of a state's columns, in the order of the table. */
export function valuesOf({ delivered, pending, acked, readBackBelow, target }: LedgerState): unknown[] {
  return [
    formatLsn(delivered.lsn),
    delivered.seq,
    pending === undefined ? null : formatLsn(pending.to.lsn),
    pending?.to.seq ?? null,
    pending?.rows ?? null,
    pending?.token ?? null,
    pending === undefined ? null : new Date(pending.atMs),
    formatLsn(acked),
    readBackBelow === 0 ? null : formatLsn(readBackBelow),
    target ?? null,
  ];
}

/** The error of a slot for which there is no ledger. */
export function noLedger({ schema }: Database, slot: string): OutboxError {
  return new OutboxError('OUTBOX_PG_NOT_MIGRATED', { detail: `${schema}.stream has no row for the slot "${slot}"` });
}

/** By what ClickHouse's rows of a stream are known. */
export interface KnownAs {
  readonly source: string;
  /** What was committed or delivered until then has positions of another server; ms since 1970, 0 where there never was another. */
  readonly movedAtMs: number;
}

/**
 * By what ClickHouse knows a slot's events. Throws OUTBOX_PG_NOT_MIGRATED, OUTBOX_DETACHED, and OUTBOX_SYSTEM_CHANGED where the
 * ledger was written for another server.
 */
export async function knownAs(db: Database, slot: string): Promise<KnownAs> {
  const { rows } = await db.query<{ system_id: string; source: string; moved_at: Date | null; detached: boolean }>(
    'SELECT system_id, source, moved_at, detached_at IS NOT NULL AS detached FROM outbox.stream WHERE slot_name = $1',
    [slot],
  );
  const [row] = rows;
  if (row === undefined) throw noLedger(db, slot);
  if (row.detached) throw new OutboxError('OUTBOX_DETACHED');
  if (row.system_id !== (await serverOf(db)).systemId) throw new OutboxError('OUTBOX_SYSTEM_CHANGED');
  return { source: row.source, movedAtMs: row.moved_at?.getTime() ?? 0 };
}

/** The error of a slot that is not there: `detach` has dropped it, or nobody knows who did. */
export async function slotGone(db: Database, slot: string): Promise<OutboxError> {
  const { count } = await db.query('SELECT FROM outbox.stream WHERE slot_name = $1 AND detached_at IS NOT NULL', [
    slot,
  ]);
  return count === 0 ? slotMissing(slot) : new OutboxError('OUTBOX_DETACHED');
}

/** Postgres took a write, and did not make it. @param table without its schema */
export function writeIgnored({ schema }: Database, table: string): OutboxError {
  return new OutboxError('OUTBOX_PG_WRITE_IGNORED', {
    detail: `a write of ${schema}.${table} was accepted and not stored`,
  });
}

/** The error of a slot that has several rows, which the table's primary key would keep out. */
export function severalRows(slot: string): OutboxError {
  const name = `'${slot.replaceAll("'", "''")}'`;
  const order = (row: string): string => `(${row}.epoch, ${row}.delivered_lsn, ${row}.delivered_seq, ${row}.ctid)`;
  return new OutboxError('OUTBOX_PG_TABLE_UNSUITABLE', {
    detail: `outbox.stream has several rows for the slot "${slot}", and no primary key`,
    problems: [
      `DELETE FROM outbox.stream a USING outbox.stream b WHERE a.slot_name = ${name} AND b.slot_name = ${name} AND ${order('a')} < ${order('b')}`,
      'ALTER TABLE outbox.stream ADD PRIMARY KEY (slot_name)',
    ],
  });
}

/** Why a write under an epoch changed no row. */
export async function notWritten(db: Database, slot: string, epoch: string): Promise<OutboxError> {
  const { count } = await db.query('SELECT FROM outbox.stream WHERE slot_name = $1 AND epoch = $2', [slot, epoch]);
  return count === 0 ? new OutboxError('OUTBOX_EPOCH_LOST') : writeIgnored(db, 'stream');
}

/** Why the row could not be taken. */
export async function notTaken(db: Database, slot: string): Promise<OutboxError> {
  const { rows } = await db.query<{ repairing: boolean; detached: boolean; system_id: string }>(
    'SELECT repair_began_at IS NOT NULL AS repairing, detached_at IS NOT NULL AS detached, system_id FROM outbox.stream WHERE slot_name = $1',
    [slot],
  );
  const [row] = rows;
  if (row === undefined) return noLedger(db, slot);
  if (row.detached) return new OutboxError('OUTBOX_DETACHED');
  if (row.repairing) return new OutboxError('OUTBOX_REPAIR_UNFINISHED');
  return row.system_id === (await serverOf(db)).systemId
    ? writeIgnored(db, 'stream')
    : new OutboxError('OUTBOX_SYSTEM_CHANGED');
}
