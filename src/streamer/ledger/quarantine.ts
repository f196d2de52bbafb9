import { OutboxError } from '../../errors.ts';
import { formatLsn, type Lsn } from '../../lsn.ts';
import type { Event } from '../batch/event.ts';
import type { Database } from '../source/database.ts';

const UNIQUE_VIOLATION = '23505';
/** Each of them meets another slot that puts an event there at the same moment. */
const MAX_ATTEMPTS = 100;

/** An event that ClickHouse rejects although it stands alone, and why. */
export interface RejectedEvent {
  readonly event: Event;
  /** System identifier and slot. */
  readonly source: string;
  /** ClickHouse's code and name, without what it quoted. */
  readonly reason: string;
  readonly clickhouseCode: number | undefined;
}

/**
 * One statement that puts the event into outbox.quarantine if and only if `moved`, a statement with the parameters `values`,
 * returns the slot's name, and that the row is `written`. Where the sequence of the ids is behind its rows, as logical replication and a
 * restore of the data alone leave it, the id is the one after the highest: the statement that was refused has changed nothing, so it is
 * repeated. Throws OUTBOX_PG_*.
 */
export async function putIntoQuarantine(
  db: Database,
  moved: string,
  rejected: RejectedEvent,
  values: readonly unknown[],
): Promise<{ written: boolean }[]> {
  for (let attempts = 1; ; attempts++) {
    const parameters = [...values];
    const statement = quarantining(moved, rejected, parameters, attempts > 1);
    try {
      return (await db.query<{ written: boolean }>(statement, parameters)).rows;
    } catch (error) {
      const isTaken = error instanceof OutboxError && error.sqlState === UNIQUE_VIOLATION;
      if (!isTaken || attempts === MAX_ATTEMPTS) throw error;
    }
  }
}

/** Appends the event's own parameters. */
function quarantining(
  moved: string,
  { event, source, reason, clickhouseCode }: RejectedEvent,
  values: unknown[],
  isNumbered: boolean,
): string {
  const own = {
    source,
    lsn: formatLsn(event.position.lsn),
    seq: event.position.seq,
    event_id: event.eventId,
    event_type: event.eventType,
    event_date_time: event.eventDateTime,
    environment: event.environment,
    event_context: event.contextText,
    metadata_version: String(event.metadataVersion),
    subject: event.subject,
    committed_at: event.committedAt,
    trace_id: event.traceId,
    span_id: event.spanId,
    recorded_at: event.recordedAt,
    recorded_by: event.recordedBy,
    reason,
    clickhouse_code: clickhouseCode ?? null,
  };
  const first = values.push(...Object.values(own)) - Object.keys(own).length + 1;
  const columns = Object.keys(own);
  const id = isNumbered ? '(SELECT coalesce(max(id), 0) + 1 FROM outbox.quarantine), ' : '';
  // a trigger that swallows the row must not let the ledger pass it: the division fails, and all of the statement with it
  return `WITH moved AS (${moved}), put AS (
      INSERT INTO outbox.quarantine (${isNumbered ? 'id, ' : ''}slot_name, ${columns.join(', ')}) OVERRIDING SYSTEM VALUE
      SELECT ${id}moved.slot_name, ${columns.map((_, i) => `$${first + i}`).join(', ')} FROM moved RETURNING id)
    SELECT 1 / (SELECT count(*) FROM put) AS put, written FROM moved`;
}

/** Whether an event of a slot at or behind an LSN is in quarantine. */
export async function isQuarantined(db: Database, slot: string, from: Lsn): Promise<boolean> {
  const { count } = await db.query('SELECT FROM outbox.quarantine WHERE slot_name = $1 AND lsn >= $2 LIMIT 1', [
    slot,
    formatLsn(from),
  ]);
  return count > 0;
}

/**
 * Whether an event of a slot at or behind an LSN is not in ClickHouse for a reason that is known: it is in quarantine, or `erase` may have
 * removed it.
 */
export async function isAside(db: Database, slot: string, from: Lsn): Promise<boolean> {
  if (await isQuarantined(db, slot, from)) return true;
  const erased = await db.query('SELECT FROM outbox.erasure WHERE before_lsn > $1 LIMIT 1', [formatLsn(from)]);
  return erased.count > 0;
}

/** How many events of a slot are in quarantine, without those that were discarded. */
export async function countQuarantined(db: Database, slot: string): Promise<number> {
  const { rows } = await db.query<{ n: number }>(countOf('$1'), [slot]);
  return rows[0]!.n;
}

/**
 * The same, but throws OUTBOX_PG_FAILED after a moment where the table is locked: the ledger's next write waits behind it. The
 * statements of one message are one transaction, to which the limits are confined.
 */
export async function glanceAtQuarantine(db: Database, slot: string): Promise<number> {
  const { rows } = await db.query<{ n: number }>(
    `SET LOCAL lock_timeout = '50ms'; SET LOCAL statement_timeout = '200ms'; ${countOf(constantOf(slot))}`,
  );
  return rows[0]!.n;
}

/** Where there can be no placeholder. In hex, because a slot may be called like the default schema: see inSchema. */
function constantOf(slot: string): string {
  return `convert_from('\\x${Buffer.from(slot).toString('hex')}', 'UTF8')`;
}

function countOf(slot: string): string {
  return `SELECT count(*)::int AS n FROM outbox.quarantine WHERE slot_name = ${slot} AND discarded_at IS NULL`;
}
