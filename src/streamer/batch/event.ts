import type { Position } from '../../position.ts';
import type { Batch } from './batch.ts';

/** One event out of a batch. Made only where an event needs attention by itself. */
export interface Event {
  readonly position: Position;
  readonly eventId: string;
  readonly eventType: string;
  /** `2026-01-31T12:00:00.123456Z`, as all times here. */
  readonly eventDateTime: string;
  readonly environment: string;
  readonly contextText: string;
  readonly metadataVersion: bigint;
  readonly subject: string;
  readonly committedAt: string;
  /** Hexadecimal, or empty. */
  readonly traceId: string;
  readonly spanId: string;
  /** When its transaction began, by Postgres' clock. */
  readonly recordedAt: string;
  /** The login that wrote it. */
  readonly recordedBy: string;
}

export function eventOf(batch: Batch, row: number): Event {
  return {
    position: positionOf(batch, row),
    eventId: eventIdOf(batch, row),
    eventType: batch.eventType.value(row, 0).toString(),
    eventDateTime: instant(batch.eventDateTime.value(row, 8)),
    environment: batch.environment.value(row, 0).toString(),
    contextText: batch.eventContextText.value(row, 0).toString(),
    metadataVersion: batch.metadataVersion.value(row, 8).readBigInt64LE(),
    subject: batch.subject.value(row, 0).toString(),
    committedAt: instant(batch.committedAt.value(row, 8)),
    traceId: batch.traceId.value(row, 0).toString(),
    spanId: batch.spanId.value(row, 0).toString(),
    recordedAt: instant(batch.recordedAt.value(row, 8)),
    recordedBy: batch.recordedBy.value(row, 0).toString(),
  };
}

export function positionOf(batch: Batch, row: number): Position {
  return { lsn: Number(batch.lsn.value(row, 8).readBigUInt64LE()), seq: batch.seq.value(row, 4).readUInt32LE() };
}

/** In the usual text form; ClickHouse's two little-endian halves are turned round again. */
export function eventIdOf(batch: Batch, row: number): string {
  const bytes = batch.eventId.value(row, 16);
  const hex = Buffer.concat([bytes.subarray(0, 8).toReversed(), bytes.subarray(8).toReversed()]).toString('hex');
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

/** A Date has milliseconds only. */
function instant(value: Buffer): string {
  const microseconds = value.readBigInt64LE();
  const fraction = ((microseconds % 1_000_000n) + 1_000_000n) % 1_000_000n;
  const seconds = Number((microseconds - fraction) / 1_000_000n);
  return new Date(seconds * 1000).toISOString().replace('000Z', `${String(fraction).padStart(6, '0')}Z`);
}
