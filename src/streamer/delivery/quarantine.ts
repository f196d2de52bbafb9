import { formatLsn } from '../../lsn.ts';
import type { Event } from '../batch/event.ts';

/** An event that ClickHouse refuses although it stands alone, and why. */
export interface RefusedEvent {
  readonly event: Event;
  /** System identifier and slot. */
  readonly source: string;
  /** ClickHouse's code and name, without what it quoted. */
  readonly reason: string;
  readonly clickhouseCode: number | undefined;
}

/**
 * One statement that puts the event into outbox.quarantine if and only if `update`, whose first parameter is the slot,
 * changes a row. Appends what it needs to `values`.
 */
export function quarantining(
  update: string,
  { event, source, reason, clickhouseCode }: RefusedEvent,
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
    metadata_version: event.metadataVersion,
    committed_at: event.committedAt,
    trace_id: event.traceId,
    span_id: event.spanId,
    reason,
    clickhouse_code: clickhouseCode ?? null,
  };
  const first = values.push(...Object.values(own)) - Object.keys(own).length + 1;
  const columns = Object.keys(own);
  return `WITH moved AS (${update} RETURNING slot_name)
    INSERT INTO outbox.quarantine (slot_name, ${columns.join(', ')})
    SELECT moved.slot_name, ${columns.map((_, i) => `$${first + i}`).join(', ')} FROM moved`;
}
