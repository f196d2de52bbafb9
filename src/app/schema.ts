/**
 * The outbox's tables for drizzle: to query them from an application's own code, and to compare migrations/postgres with.
 * Not to migrate by: drizzle cannot express the ring of partitions of `event`, the publication, nor a fill factor.
 */
import { sql } from 'drizzle-orm';
import {
  bigint,
  check,
  customType,
  index,
  integer,
  json,
  pgSchema,
  smallint,
  text,
  timestamp,
  uuid,
} from 'drizzle-orm/pg-core';

/** A position in the write-ahead log, in Postgres' text form: `16/B374D848`. */
const pgLsn = customType<{ data: string; driverData: string }>({ dataType: () => 'pg_lsn' });

/** To the microsecond in Postgres, to the millisecond in a Date. */
const instant = () => timestamp({ precision: 6, withTimezone: true });

export const outbox = pgSchema('outbox');

/** The events as they were emitted, in a ring of partitions of a day each. Without a key: the same id twice is two events. */
export const event = outbox.table('event', {
  event_id: uuid().notNull().defaultRandom(),
  event_type: text().notNull(),
  event_date_time: instant().notNull().defaultNow(),
  environment: text().notNull().default(''),
  event_context: json().notNull(),
  metadata_version: integer().notNull().default(1),
  traceparent: text(),
  tracestate: text(),
  /** The start of the transaction, by the server's clock. */
  recorded_at: instant().notNull().defaultNow(),
  /** The partition: days since 1970, modulo 32. */
  bucket: smallint()
    .notNull()
    .default(sql`((extract(epoch FROM now())::bigint / 86400) % 32)`),
});

/** The streamer's ledger, a row for each slot. Applications have no business here; operators may read it. */
export const stream = outbox.table(
  'stream',
  {
    slot_name: text().primaryKey(),
    system_id: text().notNull(),
    timeline: integer(),
    publication: text(),
    epoch: bigint({ mode: 'number' }).notNull().default(0),
    delivered_lsn: pgLsn().notNull().default('0/0'),
    delivered_seq: bigint({ mode: 'number' }).notNull().default(0),
    pending_lsn: pgLsn(),
    pending_seq: bigint({ mode: 'number' }),
    pending_rows: integer(),
    pending_token: text(),
    pending_at: instant(),
    read_back_below: pgLsn(),
    /** No flush LSN beyond it was ever told to Postgres: a slot that is further was made again, or advanced by hand. */
    acked_lsn: pgLsn(),
    /** The backend of the streamer that holds the ledger, whose activity is its sign of life. */
    holder_pid: integer(),
    /** A repair has begun and not ended: nothing is streamed until it has. */
    repair_began_at: instant(),
    /** In how many inserts the pending rows go out at the same time. */
    pending_inserts: integer().notNull().default(1),
  },
  () => [
    check(
      'stream_pending_is_whole',
      sql`num_nulls(pending_lsn, pending_seq, pending_rows, pending_token, pending_at) IN (0, 5)`,
    ),
  ],
);

/** Events that ClickHouse refuses, each alone, kept with their exact text until an operator retries or discards them. */
export const quarantine = outbox.table(
  'quarantine',
  {
    id: bigint({ mode: 'number' }).primaryKey().generatedAlwaysAsIdentity(),
    slot_name: text().notNull(),
    source: text().notNull(),
    lsn: pgLsn().notNull(),
    seq: bigint({ mode: 'number' }).notNull(),
    event_id: uuid().notNull(),
    event_type: text().notNull(),
    event_date_time: instant().notNull(),
    environment: text().notNull(),
    event_context: text().notNull(),
    metadata_version: integer().notNull(),
    committed_at: instant().notNull(),
    trace_id: text().notNull(),
    span_id: text().notNull(),
    /** What ClickHouse said, without what it quoted. */
    reason: text().notNull(),
    clickhouse_code: integer(),
    quarantined_at: instant().notNull().defaultNow(),
    /** The time of the first retry: a repeated insert carries the same. */
    retried_at: instant(),
    discarded_at: instant(),
  },
  (table) => [index('quarantine_slot_name').on(table.slot_name)],
);
