import { Field, type Tuple } from '../source/event-columns.ts';
import type { Lsn } from '../../lsn.ts';
import { CHUNK_BYTES, Column, MARK_ROWS, type ChunkPool } from './column.ts';
import { Producers, TRACEPARENT_BYTES } from './producers.ts';
import { readTimestamp, type Int64 } from './time.ts';

/** What all rows of one transaction share. */
export interface TransactionStamp {
  commitLsn: Lsn;
  readonly committedAt: Int64;
}

/** Bytes of a row beside its strings: uuid 16, five times 8, once 4, and a length byte for each of seven strings. */
const FIXED_ROW_BYTES = 16 + 5 * 8 + 4 + 7;
/** What a batch may take beyond its bytes: the last chunk of each column, hardly begun. */
export const BEGUN_CHUNKS_BYTES = 14 * CHUNK_BYTES;
const DASH = 0x2d;

/** What a row will take in a batch, in bytes, before the columns that are the same for the whole batch. */
export function rowBytes(tuple: Tuple): number {
  const { start, end } = tuple;
  const { eventType, environment, eventContext, subject, traceparent, recordedBy } = Field;
  let bytes = FIXED_ROW_BYTES;
  if (start[eventType]! >= 0) bytes += end[eventType]! - start[eventType]!;
  if (start[environment]! >= 0) bytes += end[environment]! - start[environment]!;
  if (start[eventContext]! >= 0) bytes += end[eventContext]! - start[eventContext]!;
  if (start[subject]! >= 0) bytes += end[subject]! - start[subject]!;
  if (start[traceparent]! >= 0) bytes += end[traceparent]! - start[traceparent]!;
  if (start[recordedBy]! >= 0) bytes += end[recordedBy]! - start[recordedBy]!;
  return bytes;
}

/**
 * Events on their way to ClickHouse, as the columns that ClickHouse will read. Rows go in as bytes of the WAL message and
 * are never anything else.
 */
export class Batch {
  readonly eventType: Column;
  readonly eventDateTime: Column;
  readonly environment: Column;
  readonly eventContextText: Column;
  readonly metadataVersion: Column;
  readonly subject: Column;
  readonly eventId: Column;
  readonly lsn: Column;
  readonly seq: Column;
  readonly committedAt: Column;
  readonly traceId: Column;
  readonly spanId: Column;
  readonly recordedAt: Column;
  readonly recordedBy: Column;

  rows = 0;
  bytes = 0;
  readonly producers = new Producers();
  /** Dates that DateTime64(6) cannot hold and that were clamped. */
  clamped = 0;
  /** Position of the last row. */
  lastLsn: Lsn = 0;
  lastSeq = 0;
  /** Where the last transaction that ends with this batch ends: the flush LSN that its settling allows. 0 when none does. */
  ackLsn: Lsn = 0;

  readonly #strings: readonly Column[];
  /** Reused for each value, so that no number is passed by itself: V8 may allocate such a one. */
  readonly #number: Int64 = { high: 0, low: 0 };

  constructor(pool: ChunkPool) {
    this.eventType = new Column(pool);
    this.eventDateTime = new Column(pool);
    this.environment = new Column(pool);
    this.eventContextText = new Column(pool);
    this.metadataVersion = new Column(pool);
    this.subject = new Column(pool);
    this.eventId = new Column(pool);
    this.lsn = new Column(pool);
    this.seq = new Column(pool);
    this.committedAt = new Column(pool);
    this.traceId = new Column(pool);
    this.spanId = new Column(pool);
    this.recordedAt = new Column(pool);
    this.recordedBy = new Column(pool);
    this.#strings = [
      this.eventType,
      this.environment,
      this.eventContextText,
      this.subject,
      this.traceId,
      this.spanId,
      this.recordedBy,
    ];
  }

  append(buffer: Buffer, tuple: Tuple, stamp: TransactionStamp, seq: number, bytes: number): void {
    const { start, end } = tuple;
    if (this.rows % MARK_ROWS === 0) for (const column of this.#strings) column.mark();
    text(this.eventType, buffer, start[Field.eventType]!, end[Field.eventType]!);
    text(this.environment, buffer, start[Field.environment]!, end[Field.environment]!);
    text(this.eventContextText, buffer, start[Field.eventContext]!, end[Field.eventContext]!);
    this.eventId.uuid(buffer, start[Field.eventId]!);
    this.#time(this.eventDateTime, buffer, start[Field.eventDateTime]!);
    this.metadataVersion.reversed64(buffer, start[Field.metadataVersion]!);
    text(this.subject, buffer, start[Field.subject]!, end[Field.subject]!);
    this.#trace(buffer, start[Field.traceparent]!, end[Field.traceparent]!);
    this.#time(this.recordedAt, buffer, start[Field.recordedAt]!);
    text(this.recordedBy, buffer, start[Field.recordedBy]!, end[Field.recordedBy]!);

    const number = this.#number;
    number.high = Math.floor(stamp.commitLsn / 0x1_0000_0000);
    number.low = stamp.commitLsn - number.high * 0x1_0000_0000;
    this.lsn.int64(number);
    this.seq.int32(seq);
    this.committedAt.int64(stamp.committedAt);

    this.rows++;
    this.bytes += bytes;
    this.lastLsn = stamp.commitLsn;
    this.lastSeq = seq;
  }

  /** Gives the memory back to the pool. The batch must not be used after. */
  close(): void {
    for (const column of [
      this.eventType,
      this.eventDateTime,
      this.environment,
      this.eventContextText,
      this.metadataVersion,
      this.subject,
      this.eventId,
      this.lsn,
      this.seq,
      this.committedAt,
      this.traceId,
      this.spanId,
      this.recordedAt,
      this.recordedBy,
    ]) {
      column.close();
    }
  }

  #time(column: Column, buffer: Buffer, offset: number): void {
    if (!readTimestamp(buffer, offset, this.#number)) this.clamped++;
    column.int64(this.#number);
  }

  /** `00-<32 hex trace id>-<16 hex span id>-<flags>`, https://www.w3.org/TR/trace-context/#traceparent-header */
  #trace(buffer: Buffer, start: number, end: number): void {
    if (
      start >= 0 &&
      end - start >= TRACEPARENT_BYTES &&
      buffer[start + 2] === DASH &&
      buffer[start + 35] === DASH &&
      buffer[start + 52] === DASH
    ) {
      this.traceId.string(buffer, start + 3, start + 35);
      this.spanId.string(buffer, start + 36, start + 52);
      this.producers.add(buffer, start, this.rows);
    } else {
      this.traceId.empty();
      this.spanId.empty();
    }
  }
}

/** A call of its own keeps `append` so small that the compiler boxes no number in it (allocations.test.ts). */
function text(column: Column, buffer: Buffer, start: number, end: number): void {
  column.string(buffer, start, end);
}
