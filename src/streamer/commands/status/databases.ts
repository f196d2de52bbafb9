import { OutboxError } from '../../../errors.ts';
import { parseLsn } from '../../../lsn.ts';
import type { Lsn } from '../../../lsn.ts';
import { deliveredTo } from '../../ledger/delivered.ts';
import type { Config } from '../../config.ts';
import type { ClickHouse } from '../../clickhouse/client.ts';
import type { Database } from '../../source/database.ts';
import { isBehind, SHORT_MINUTES } from '../../source/slot-watch.ts';
import { checkSlot, slotMissing } from '../../source/slot.ts';
import type { Slot } from '../../source/slot.ts';
import { holderOf, walRate } from '../../ledger/holder.ts';
import type { Holder } from '../../ledger/holder.ts';
import { reasonOf } from '../../observe/readiness.ts';
import type { Reason } from '../../observe/readiness.ts';
import { youngerThan } from './waiting.ts';

/** ClickHouse must answer a look within this time, and Postgres each question. */
export const PATIENCE_MS = 1000;
/** Where the last delivered event is not in the table (it is in quarantine), it is looked for so far back. */
const NEARBY_BYTES = 256 * 1024 * 1024;

interface LedgerRow {
  source: string;
  delivered: string;
  seq: string;
  pending_rows: number | null;
  pending_at: Date | null;
  reading_back: boolean;
  repairing: boolean;
  quarantined: number;
  wal: string;
}

/** What Postgres knows. */
export interface Source {
  readonly holder: Holder | undefined;
  readonly slot: Slot | undefined;
  /** Why the slot cannot be streamed from. */
  readonly slotFault: Reason | undefined;
  readonly runwayMinutes: number | undefined;
  readonly isEndangered: boolean;
  /** As in ClickHouse's column of that name. */
  readonly name: string;
  readonly delivered: { readonly lsn: Lsn; readonly seq: number };
  /** Everything before it is delivered, by the word of whoever knows most. */
  readonly reached: Lsn;
  readonly walEnd: Lsn;
  readonly pending: { readonly rows: number; readonly sinceMs: number } | undefined;
  readonly quarantined: number;
  readonly isReadingBack: boolean;
  readonly isRepairing: boolean;
}

/** What ClickHouse knows. */
export interface Sink {
  readonly version: string;
  /** ms since 1970; undefined while the table has no part. */
  readonly lastPartMs: number | undefined;
  /** Of the last event of this source that is there. */
  readonly committedMs: number | undefined;
  readonly deliveredMs: number | undefined;
}

export interface Waiting {
  readonly events: number;
  /** There may be more: without ClickHouse, only what came since the pending insert is known. */
  readonly isAtLeast: boolean;
  /** ms since 1970. */
  readonly oldestMs: number | undefined;
}

/** Throws OUTBOX_PG_*, also when the outbox was not migrated. */
export async function lookAtSource(db: Database, { slot: slotName }: Config): Promise<Source> {
  const { rows } = await db.query<LedgerRow>(
    `SELECT system_id || '/' || slot_name AS source, delivered_lsn AS delivered, delivered_seq AS seq, pending_rows, pending_at,
            read_back_below IS NOT NULL AS reading_back, repair_began_at IS NOT NULL AS repairing,
            (SELECT count(*)::int FROM outbox.quarantine q WHERE q.slot_name = l.slot_name AND discarded_at IS NULL) AS quarantined,
            pg_current_wal_lsn() AS wal
       FROM outbox.stream l WHERE slot_name = $1`,
    [slotName],
  );
  const [row] = rows;
  if (row === undefined)
    throw new OutboxError('OUTBOX_PG_NOT_MIGRATED', { detail: `outbox.stream has no row for the slot "${slotName}"` });
  const { slot, fault } = await slotOf(db, slotName);
  const bytesPerMinute = 60 * (await walRate(db));
  const safe = slot?.safeWalBytes;
  const minutes = safe === undefined || bytesPerMinute === 0 ? undefined : Math.max(0, safe) / bytesPerMinute;
  const isShort = minutes !== undefined && minutes < SHORT_MINUTES;
  const { lsn: reached } = await deliveredTo(db, slotName);
  return {
    holder: await holderOf(db, slotName),
    slot,
    slotFault: fault,
    runwayMinutes: minutes === undefined ? undefined : Math.floor(minutes),
    isEndangered: slot !== undefined && (slot.walStatus === 'unreserved' || (isShort && isBehind(slot))),
    name: row.source,
    delivered: { lsn: parseLsn(row.delivered), seq: Number(row.seq) },
    reached,
    walEnd: parseLsn(row.wal),
    pending:
      row.pending_rows === null || row.pending_at === null
        ? undefined
        : { rows: row.pending_rows, sinceMs: row.pending_at.getTime() },
    quarantined: row.quarantined,
    isReadingBack: row.reading_back,
    isRepairing: row.repairing,
  };
}

async function slotOf(db: Database, name: string): Promise<{ slot?: Slot; fault?: Reason }> {
  try {
    const slot = await checkSlot(db, name);
    return slot === undefined ? { fault: reasonOf(slotMissing(name)) } : { slot };
  } catch (error) {
    if (error instanceof OutboxError && error.code === 'OUTBOX_SLOT_INVALID') return { fault: reasonOf(error) };
    throw error;
  }
}

/** Throws OUTBOX_CH_*, also when there is no answer in time. */
export async function lookAtSink(clickhouse: ClickHouse, table: string, source: Source | undefined): Promise<Sink> {
  const signal = AbortSignal.timeout(PATIENCE_MS);
  try {
    const [server] = await clickhouse.select<{ version: string; part: string }>(
      `SELECT version() AS version, toString(toUnixTimestamp(max(modification_time))) AS part FROM system.parts
        WHERE active AND database = currentDatabase() AND table = {table:String}`,
      { table },
      signal,
    );
    const last = source && (await lastOf(clickhouse, table, source, signal));
    const partMs = Number(server?.part ?? 0) * 1000;
    return {
      version: server?.version ?? '',
      lastPartMs: partMs === 0 ? undefined : partMs,
      committedMs: last?.committedMs,
      deliveredMs: last?.deliveredMs,
    };
  } catch (error) {
    if (!signal.aborted) throw error;
    throw new OutboxError('OUTBOX_CH_UNREACHABLE', { detail: `no answer from ClickHouse within ${PATIENCE_MS} ms` });
  }
}

async function lastOf(
  clickhouse: ClickHouse,
  table: string,
  { name, delivered: { lsn } }: Source,
  signal: AbortSignal,
): ReturnType<typeof lastEvent> {
  return (
    (await lastEvent(clickhouse, table, name, lsn, signal)) ??
    lastEvent(clickhouse, table, name, Math.max(0, lsn - NEARBY_BYTES), signal)
  );
}

async function lastEvent(
  clickhouse: ClickHouse,
  table: string,
  source: string,
  lsn: Lsn,
  signal: AbortSignal,
): Promise<{ committedMs: number; deliveredMs: number } | undefined> {
  const [row] = await clickhouse.select<{ n: string; committed: string; delivered: string }>(
    `SELECT toString(count()) AS n, toString(toUnixTimestamp64Milli(max(committed_at))) AS committed,
            toString(toUnixTimestamp64Milli(max(delivered_at))) AS delivered
       FROM {table:Identifier} WHERE source = {source:String} AND lsn >= {lsn:UInt64}`,
    { table, source, lsn: String(lsn) },
    signal,
  );
  if (row === undefined || row.n === '0') return undefined;
  return { committedMs: Number(row.committed), deliveredMs: Number(row.delivered) };
}

/** Events of a range of WAL that ClickHouse has: (from, to]. */
export async function deliveredBetween(
  clickhouse: ClickHouse,
  table: string,
  source: string,
  [from, to]: readonly [Lsn, Lsn],
): Promise<number> {
  const [row] = await clickhouse.select<{ n: string }>(
    `SELECT toString(count()) AS n FROM {table:Identifier}
      WHERE source = {source:String} AND lsn > {from:UInt64} AND lsn <= {to:UInt64}`,
    { table, source, from: String(from), to: String(to) },
    AbortSignal.timeout(PATIENCE_MS),
  );
  return Number(row?.n ?? 0);
}

/** What was recorded since the last delivered event committed; undefined when nobody can tell. */
export async function lookAtWaiting(
  db: Database,
  source: Source,
  sink: Sink | undefined,
): Promise<Waiting | undefined> {
  const { pending, reached, walEnd } = source;
  if (reached >= walEnd && pending === undefined) return { events: 0, isAtLeast: false, oldestMs: undefined };
  if (sink !== undefined) {
    const { events, oldestMs } = await youngerThan(db, sink.committedMs ?? 0);
    return { events, isAtLeast: false, oldestMs };
  }
  if (pending === undefined) return undefined;
  const { events } = await youngerThan(db, pending.sinceMs);
  return { events: events + pending.rows, isAtLeast: true, oldestMs: pending.sinceMs };
}
