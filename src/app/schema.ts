/**
 * The outbox's tables for drizzle. Applications query them by it, and a test compares them with migrations/postgres.
 * Do not migrate with it: drizzle cannot express the ring of partitions of `event`, the publication, or a fill factor.
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
  primaryKey,
  smallint,
  text,
  timestamp,
  unique,
  uuid,
} from 'drizzle-orm/pg-core';

/** A position in the write-ahead log, in Postgres' text form: `16/B374D848`. */
const pgLsn = customType<{ data: string; driverData: string }>({ dataType: () => 'pg_lsn' });

/** Which transactions had committed by then, in Postgres' text form: `10:20:10,14`. */
const pgSnapshot = customType<{ data: string; driverData: string }>({ dataType: () => 'pg_snapshot' });

/** Postgres stores microseconds; a Date has milliseconds. */
const instant = () => timestamp({ precision: 6, withTimezone: true });

/** The tables of the outbox in another schema: what OUTBOX_SCHEMA is for the streamer. */
export function outboxTables<Name extends string>(schema: Name) {
  const outbox = pgSchema(schema);

  const event = outbox.table('event', {
    event_id: uuid().notNull().defaultRandom(),
    event_type: text().notNull(),
    event_date_time: instant().notNull().defaultNow(),
    environment: text().notNull().default(''),
    event_context: json().notNull(),
    metadata_version: bigint({ mode: 'bigint' })
      .notNull()
      .default(sql`1`),
    /** Who or what the event is about; empty when it names nobody. */
    subject: text().notNull().default(''),
    traceparent: text(),
    tracestate: text(),
    /** The start of the transaction, by the server's clock. */
    recorded_at: instant().notNull().defaultNow(),
    /** The login that wrote it, whatever role it had taken on. The server writes it; no grant lets an application do so. */
    recorded_by: text()
      .notNull()
      .default(sql`session_user`),
    /** The partition: days since 1970, modulo 32. */
    bucket: smallint()
      .notNull()
      .default(sql`((extract(epoch FROM now())::bigint / 86400) % 32)`),
  });

  const stream = outbox.table(
    'stream',
    {
      slot_name: text().primaryKey(),
      /** The server that the row was written for. */
      system_id: text().notNull(),
      /** What ClickHouse's column of that name says of this stream's events, on whatever server it goes on. */
      source: text().notNull(),
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
      /** ClickHouse's version, and the UUID of the table. Another one may not know the tokens of this one. */
      target: text(),
      /** No flush LSN beyond it was ever reported to Postgres. A slot beyond it was made again, or advanced by hand. */
      acked_lsn: pgLsn(),
      /** The backend of the streamer that holds the ledger. Its activity shows that the streamer is alive. */
      holder_pid: integer(),
      /** When a repair began that has not ended. The streamer sends nothing until it has ended. */
      repair_began_at: instant(),
      /** Since when ClickHouse refuses what the holder sends or asks, and the last refusal. */
      refused_at: instant(),
      refused: text(),
      /** Slots of other shares deliver what is committed from here on, which is what the snapshot does not see: `reshard`. */
      ends_lsn: pgLsn(),
      ends_in: pgSnapshot(),
      ends_at: instant(),
      /** What is committed before, which is what the snapshot sees, was delivered by slots of other shares. */
      begins_lsn: pgLsn(),
      begins_in: pgSnapshot(),
      begins_at: instant(),
      /** When `detach` proved that all before acked_lsn is delivered. No streamer delivers until a repair has made a slot. */
      detached_at: instant(),
      /** When the stream came from another server. What was delivered until then has positions of that one. */
      moved_at: instant(),
    },
    () => [
      check(
        'stream_pending_is_whole',
        sql`num_nulls(pending_lsn, pending_seq, pending_rows, pending_token, pending_at) IN (0, 5)`,
      ),
    ],
  );

  const quarantine = outbox.table(
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
      metadata_version: bigint({ mode: 'bigint' }).notNull(),
      subject: text().notNull(),
      committed_at: instant().notNull(),
      trace_id: text().notNull(),
      span_id: text().notNull(),
      recorded_at: instant().notNull(),
      recorded_by: text().notNull(),
      /** ClickHouse's message, without what it quoted. */
      reason: text().notNull(),
      clickhouse_code: integer(),
      quarantined_at: instant().notNull().defaultNow(),
      /** The time of the first retry. A repeated insert carries the same time. */
      retried_at: instant(),
      discarded_at: instant(),
    },
    (table) => [index('quarantine_slot_name').on(table.slot_name)],
  );

  const manifest = outbox.table(
    'manifest',
    {
      source: text().notNull(),
      /** Its place in the chain of the source: 1, 2, 3 … */
      number: bigint({ mode: 'number' }).notNull(),
      /** Of recorded_at. */
      hour: instant().notNull(),
      /** Events that come late into an hour make a further one. */
      part: integer().notNull(),
      events: bigint({ mode: 'number' }).notNull(),
      first_lsn: pgLsn().notNull(),
      last_lsn: pgLsn().notNull(),
      last_delivered_at: instant().notNull(),
      /** SHA-256 of what Postgres and ClickHouse have of the events, and with what only ClickHouse has. */
      witnessed: text().notNull(),
      delivered: text().notNull(),
      /** Digests of events that the part before did not have. */
      added: text().array().notNull(),
      /** Digests of events that ClickHouse did not have: those in quarantine. */
      absent: text().array().notNull(),
      made_at: instant().notNull(),
      /** The hash of the manifest before it in the chain. */
      previous: text().notNull(),
      /** Of the key that has signed it; empty where none has. */
      key_id: text().notNull(),
      hash: text().notNull(),
      signature: text().notNull(),
    },
    (table) => [
      primaryKey({ columns: [table.source, table.number] }),
      unique('manifest_hour').on(table.source, table.hour, table.part),
    ],
  );

  const erasure = outbox.table('erasure', {
    id: uuid().primaryKey(),
    /** SHA-256 of the id and of what was asked to be erased. */
    filter: text().notNull(),
    reason: text().notNull(),
    begun_by: text()
      .notNull()
      .default(sql`session_user`),
    begun_at: instant().notNull().defaultNow(),
    /** All that it has removed was committed before, and is delivered up to here. */
    before_lsn: pgLsn(),
    /** Null: it was killed, and the same erase goes on. */
    ended_at: instant(),
    /** How many tombstones it has left in ClickHouse, and the SHA-256 over them. */
    events: bigint({ mode: 'number' }),
    tombstones: text(),
  });

  return { outbox, event, stream, quarantine, manifest, erasure };
}

const tables = outboxTables('outbox');

export const outbox = tables.outbox;

/** The events as they were emitted, in a ring of partitions, one a day. There is no key: the same id twice is two events. */
export const event = tables.event;

/** The streamer's ledger, with a row for each slot. Operators may read it. Applications must not use it. */
export const stream = tables.stream;

/** Events that ClickHouse rejects even when sent alone. Their exact text is kept until an operator retries or discards them. */
export const quarantine = tables.quarantine;

/** The manifests of the events' hours, each with the hash of the one before it. The streamer writes them; nobody changes them. */
export const manifest = tables.manifest;

/** Erasures: who had events removed for ever, and why, never which events. */
export const erasure = tables.erasure;
