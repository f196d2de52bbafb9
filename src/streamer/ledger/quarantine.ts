import pg from 'pg';
import { formatLsn } from '../../lsn.ts';
import type { Event } from '../batch/event.ts';
import type { Database } from '../source/database.ts';

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
 * returns the slot's name, and that the row is `written`. Appends the event's own parameters.
 */
export function quarantining(
  moved: string,
  { event, source, reason, clickhouseCode }: RejectedEvent,
  values: unknown[],
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
  // a trigger that swallows the row must not let the ledger pass it: the division fails, and all of the statement with it
  return `WITH moved AS (${moved}), put AS (
      INSERT INTO outbox.quarantine (slot_name, ${columns.join(', ')})
      SELECT moved.slot_name, ${columns.map((_, i) => `$${first + i}`).join(', ')} FROM moved RETURNING id)
    SELECT 1 / (SELECT count(*) FROM put) AS put, written FROM moved`;
}

/** How many events of a slot are in quarantine. */
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
    `SET LOCAL lock_timeout = '50ms'; SET LOCAL statement_timeout = '200ms'; ${countOf(pg.escapeLiteral(slot))}`,
  );
  return rows[0]!.n;
}

function countOf(slot: string): string {
  return `SELECT count(*)::int AS n FROM outbox.quarantine WHERE slot_name = ${slot} AND discarded_at IS NULL`;
}
