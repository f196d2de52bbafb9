import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { PgoutputDecoder } from '../source/pgoutput.ts';
import type { WireEvent } from '../source/messages.fixture.ts';
import * as wire from '../source/messages.fixture.ts';
import { Batch, rowBytes } from './batch.ts';
import { CHUNK_BYTES, ChunkPool } from './column.ts';
import { INSERT_COLUMNS } from '../clickhouse/columns.ts';
import { constantBytes, encode } from './native.ts';
import { NativeReader, readRows, type NativeValue } from './native.fixture.ts';

const EPOCH_2000 = 946_684_800_000_000n;
const CONSTANTS = { source: '7300000000000000000/outbox', deliveredAtMs: 1_753_000_000_123, origin: 'stream' };
const TRACE = /^00-([0-9a-f]{32})-([0-9a-f]{16})-01$/;

interface Row {
  readonly event: WireEvent;
  readonly lsn: number;
  readonly seq: number;
  /** µs since 2000 */
  readonly committedAt: bigint;
}

/** A batch of these rows, by way of the decoder. */
function batchOf(rows: readonly Row[], pool = new ChunkPool(0)): Batch {
  const batch = new Batch(pool);
  const decoder = new PgoutputDecoder(
    {
      begin: () => undefined,
      commit: () => undefined,
      relation: () => undefined,
      insert: (buffer, tuple) => {
        const { lsn, seq, committedAt } = rows[batch.rows]!;
        const at = committedAt + EPOCH_2000;
        const stamp = {
          commitLsn: lsn,
          committedAt: { high: Number(at >> 32n), low: Number(at & 0xffff_ffffn) },
        };
        batch.append(buffer, tuple, stamp, seq, rowBytes(tuple));
        return true;
      },
    },
    wire.OUTBOX_OID,
  );
  for (const message of [wire.relation(), wire.begin(1), ...rows.map(({ event }) => wire.insertEvent(event))])
    decoder.decode(message, 0, message.length);
  return batch;
}

const latin1 = (text: string | null): string => Buffer.from(text ?? '').toString('latin1');

function expected({ event, lsn, seq, committedAt }: Row): Record<string, NativeValue> {
  const [, traceId = '', spanId = ''] = TRACE.exec(event.traceparent ?? '') ?? [];
  return {
    event_type: latin1(event.eventType),
    event_date_time: event.eventDateTime! + EPOCH_2000,
    environment: latin1(event.environment),
    event_context_text: latin1(event.eventContext),
    metadata_version: event.metadataVersion!,
    subject: latin1(event.subject),
    event_id: event.eventId!.toString('hex'),
    source: CONSTANTS.source,
    lsn: BigInt(lsn),
    seq,
    committed_at: committedAt + EPOCH_2000,
    delivered_at: BigInt(CONSTANTS.deliveredAtMs) * 1000n,
    trace_id: traceId,
    span_id: spanId,
    recorded_at: event.recordedAt! + EPOCH_2000,
    recorded_by: latin1(event.recordedBy),
    origin: CONSTANTS.origin,
  };
}

const text = fc.string({ unit: 'binary', maxLength: 40 });
const date = fc.bigInt({ min: -3_000_000_000_000_000n, max: 9_000_000_000_000_000n });
const traceparent = fc
  .tuple(fc.bigInt({ min: 0n, max: 2n ** 128n - 1n }), fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }))
  .map(([trace, span]) => `00-${trace.toString(16).padStart(32, '0')}-${span.toString(16).padStart(16, '0')}-01`);
const row: fc.Arbitrary<Row> = fc.record({
  event: fc.record({
    eventId: fc.uint8Array({ minLength: 16, maxLength: 16 }).map((bytes) => Buffer.from(bytes)),
    eventType: text,
    eventDateTime: date,
    environment: text,
    eventContext: fc.oneof(
      { weight: 9, arbitrary: text },
      { weight: 1, arbitrary: fc.nat({ max: 200_000 }).map((length) => 'ü€'.repeat(length / 5)) },
    ),
    metadataVersion: fc.bigInt({ min: 0n, max: 2n ** 63n - 1n }),
    subject: text,
    traceparent: fc.option(fc.oneof(traceparent, fc.string({ maxLength: 60 }))),
    recordedAt: date,
    recordedBy: fc.string({ maxLength: 63 }),
  }),
  lsn: fc.maxSafeNat(),
  seq: fc.integer({ min: 1, max: 0xffff_ffff }),
  committedAt: date,
});

describe('encode', () => {
  test('writes the rows that were put into the batch', () => {
    fc.assert(
      fc.property(fc.array(row, { minLength: 1, maxLength: 60 }), (rows) => {
        expect(readRows(encode(batchOf(rows), CONSTANTS))).toEqual(rows.map(expected));
      }),
    );
  });

  test('writes thousands of rows, whose values fill many chunks', () => {
    const cycle = fc.array(row, { minLength: 1, maxLength: 7 });
    fc.assert(
      fc.property(cycle, fc.integer({ min: 1, max: 5000 }), (few, count) => {
        const small = few.map((one) => ({ ...one, event: { ...one.event, eventContext: 'c'.repeat(120) } }));
        const rows = Array.from({ length: count }, (_, i) => small[i % small.length]!);
        const read = readRows(encode(batchOf(rows), CONSTANTS));
        expect(read).toHaveLength(count);
        const cycled = small.map((one) => JSON.stringify(expected(one), stringify));
        expect(read.findIndex((one, i) => JSON.stringify(one, stringify) !== cycled[i % cycled.length])).toBe(-1);
      }),
      { numRuns: 8 },
    );
  });

  test('writes one block with the columns of the INSERT and their types, and nothing behind it', () => {
    const reader = new NativeReader(encode(batchOf([rowOf()]), CONSTANTS));
    const { columns } = reader.block();
    expect(columns.map(({ name }) => name)).toEqual(INSERT_COLUMNS);
    expect(Object.fromEntries(columns.map(({ name, type }) => [name, type]))).toMatchObject({
      event_context_text: 'String',
      event_date_time: "DateTime64(6, 'UTC')",
      event_id: 'UUID',
      lsn: 'UInt64',
      seq: 'UInt32',
      metadata_version: 'Decimal(18, 0)',
    });
    expect(reader.isAtEnd).toBe(true);
  });

  test('writes the same bytes for the same batch any number of times (invariant 4)', () => {
    fc.assert(
      fc.property(fc.array(row, { minLength: 1, maxLength: 10 }), (rows) => {
        const batch = batchOf(rows);
        const [first, second] = [encode(batch, CONSTANTS), encode(batch, CONSTANTS)].map((parts) =>
          Buffer.concat([...parts]),
        );
        expect(first!.equals(second!)).toBe(true);
      }),
      { numRuns: 20 },
    );
  });

  test('writes constants of any length, for one row and for more than fit a chunk', () => {
    for (const length of [0, 1, 127, 128, CHUNK_BYTES - 3, CHUNK_BYTES, 2 * CHUNK_BYTES]) {
      for (const count of [1, 2, 30]) {
        const constants = { ...CONSTANTS, source: 's'.repeat(length) };
        const read = readRows(encode(batchOf(Array<Row>(count).fill(rowOf())), constants));
        expect(read.map(({ source }) => String(source).length)).toEqual(Array<number>(count).fill(length));
      }
    }
    const many = readRows(encode(batchOf(Array<Row>(CHUNK_BYTES / 8 + 1).fill(rowOf())), CONSTANTS));
    expect(new Set(many.map(({ delivered_at: at }) => at))).toEqual(new Set([1_753_000_000_123_000n]));
  });

  test('writes no rows for a batch without rows', () => {
    expect(readRows(encode(new Batch(new ChunkPool(0)), CONSTANTS))).toEqual([]);
  });

  test('shows nothing of a released batch whose memory the batch uses', () => {
    const pool = new ChunkPool(32 * CHUNK_BYTES);
    const old = batchOf(Array<Row>(3000).fill(rowOf({ eventContext: 'old'.repeat(100), traceparent: 'old' })), pool);
    old.close();
    const rows = [rowOf({ eventType: 'new' }), rowOf({ eventContext: '' })];
    const batch = batchOf(rows, pool);
    expect(readRows(encode(batch, CONSTANTS))).toEqual(rows.map(expected));
    expect(Buffer.concat([...encode(batch, CONSTANTS)]).includes('old')).toBe(false);
  });
});

test('Batch and constantBytes count the bytes of a row to within 16 of what encode writes', () => {
  fc.assert(
    fc.property(row, (one) => {
      const withTrace = {
        ...one,
        event: { ...one.event, traceparent: TRACE.test(one.event.traceparent ?? '') ? one.event.traceparent : null },
      };
      const length = (rows: Row[]): number =>
        [...encode(batchOf(rows), CONSTANTS)].reduce((sum, part) => sum + part.length, 0);
      const taken = length([withTrace, withTrace]) - length([withTrace]);
      const counted = batchOf([withTrace]).bytes + constantBytes(CONSTANTS);
      expect(Math.abs(counted - taken)).toBeLessThanOrEqual(16);
    }),
  );
});

test('Batch counts the dates that it clamps', () => {
  const rows = [2n ** 63n - 1n, 0n, -(2n ** 63n)].map((eventDateTime) => rowOf({ eventDateTime }));
  expect(batchOf(rows).clamped).toBe(2);
});

function rowOf(given: Partial<WireEvent> = {}): Row {
  return { event: wire.event(given), lsn: 2 ** 53 - 1, seq: 1, committedAt: 0n };
}

function stringify(_: string, value: unknown): unknown {
  return typeof value === 'bigint' ? value.toString() : value;
}
