import { afterEach, expect, test, vi } from 'vitest';
import { addAges } from './batch/age.ts';
import { ChunkPool } from './batch/column.ts';
import { Intake } from './batch/intake.ts';
import { TRACEPARENT_BYTES } from './batch/producers.ts';
import { Histogram } from './histogram.ts';
import { START } from './delivery/position.ts';
import { FRAME_HEADER_BYTES, FrameReader } from './source/frames.ts';
import * as wire from './source/messages.fixture.ts';
import { PgoutputDecoder } from './source/pgoutput.ts';

const XLOG_HEADER_BYTES = 25;
const EVENTS_PER_TRANSACTION = 100;
const TRANSACTIONS = 10;
const EVENTS = EVENTS_PER_TRANSACTION * TRANSACTIONS;
const CONTEXT = JSON.stringify({ order: 'x'.repeat(300) });

/** What the walsender sends for some transactions: whole messages, positions like a server's that is not new. */
const MESSAGES = Array.from({ length: TRANSACTIONS }, (_, i) =>
  wire.transaction({
    commitLsn: 0x16_b374_d848 + i * 100_000,
    endLsn: 0x16_b374_d848 + (i + 1) * 100_000,
    time: 806_000_000_123_456n,
    events: Array.from({ length: EVENTS_PER_TRANSACTION }, () => ({
      eventDateTime: 806_000_000_000_789n,
      eventContext: CONTEXT,
      traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
    })),
  }),
)
  .flat()
  .map((message) => wire.xlogData(message, 0x16_b374_d848));
const CHUNK = Buffer.concat(MESSAGES);

/** Where the LSNs of BEGIN and COMMIT stand in it. */
const LSN_OFFSETS = MESSAGES.flatMap((message, i) => {
  const at = MESSAGES.slice(0, i).reduce((sum, { length }) => sum + length, FRAME_HEADER_BYTES + XLOG_HEADER_BYTES);
  const type = String.fromCharCode(message[FRAME_HEADER_BYTES + XLOG_HEADER_BYTES]!);
  return type === 'B' ? [at + 1] : type === 'C' ? [at + 2, at + 10] : [];
});
let high = 0x16;

/** The same transactions again, further on in WAL. */
function nextChunk(): Buffer {
  high++;
  for (let i = 0; i < LSN_OFFSETS.length; i++) CHUNK.writeUInt32BE(high, LSN_OFFSETS[i]);
  return CHUNK;
}

/** The path of an event from the socket's bytes to the columns, as a session puts it together. */
function path(): { frames: FrameReader; intake: Intake; cuts: () => number } {
  let cuts = 0;
  let full = false;
  const intake: Intake = new Intake({
    pool: new ChunkPool(64 * 1024 * 1024),
    now: () => 0,
    maxRows: 20_000,
    maxBytes: 64 * 1024 * 1024,
    maxAgeMs: 1000,
    extraRowBytes: 40,
    delivered: START,
    pending: undefined,
    onProgress: () => {
      full = intake.dueIn() === 0;
    },
    onRelation: () => undefined,
  });
  const decoder = new PgoutputDecoder(intake);
  const frames = new FrameReader((_type, buffer, start, end) => {
    if (full) {
      full = false;
      cuts++;
      const batch = intake.cut();
      batch.release();
      intake.settled(batch);
    }
    return decoder.decode(buffer, start + FRAME_HEADER_BYTES + XLOG_HEADER_BYTES, end);
  });
  frames.push(wire.xlogData(wire.relation()));
  return { frames, intake, cuts: () => cuts };
}

afterEach(() => void vi.restoreAllMocks());

/** Bytes of heap that one chunk of events allocates: the median of many, see below. */
function allocated(frames: FrameReader): number {
  const grown = Array.from({ length: 200 }, () => {
    const chunk = nextChunk();
    const before = process.memoryUsage().heapUsed;
    frames.push(chunk);
    return process.memoryUsage().heapUsed - before;
  });
  return grown.toSorted((a, b) => a - b)[100]!;
}

/**
 * Allocations are counted, not what survives them: the heap's growth over one chunk of 1000 events, which is far too short
 * to fill the young generation. Should a garbage collection, a new batch or a compilation fall into a chunk, that chunk is
 * off, and the median over 200 of them is not. The compiler optimises when it pleases, so the rounds go on until it has, or
 * until it never will. An object, a string or a view for each event would be 24 to 100 bytes of it, a boxed number 16;
 * measured is one, most of it what asking for the figure costs.
 */
test('200,000 events leave next to nothing on the heap for the garbage collector (invariant 6)', () => {
  const { frames, cuts } = path();
  const bound = 8 * EVENTS;
  let least = Infinity;
  for (let round = 0; round < 20 && least >= bound; round++) least = Math.min(least, allocated(frames));
  expect(least).toBeLessThan(bound);
  expect(cuts()).toBeGreaterThanOrEqual(9);
});

test('chunks of memory are taken once: later batches fill what earlier ones gave back (invariant 6)', () => {
  const { frames, cuts } = path();
  for (let i = 0; i < 60; i++) frames.push(nextChunk());
  const allocate = vi.spyOn(Buffer, 'allocUnsafeSlow');
  for (let i = 0; i < 60; i++) frames.push(nextChunk());
  expect(cuts()).toBeGreaterThanOrEqual(5);
  expect(allocate).not.toHaveBeenCalled();
});

/** Bytes that Buffer.copy moves while the chunks are taken. Up to 24 bytes are moved one by one, without a call. */
function copied(chunks: readonly Buffer[]): number {
  const { frames, intake } = path();
  const copy = vi.spyOn(Buffer.prototype, 'copy');
  for (const chunk of chunks) frames.push(chunk);
  const bytes = copy.mock.results.reduce((sum, { value }) => sum + (value as number), 0);
  copy.mockRestore();
  expect(intake.rows).toBe(EVENTS);
  return bytes;
}

test('the ages of events are counted without anything left for the garbage collector', () => {
  const { frames, intake } = path();
  for (let i = 0; i < 15; i++) frames.push(nextChunk());
  const batch = intake.cut();
  const ages = new Histogram([1, 10, 100]);
  const rows = { from: 0, to: batch.rows };
  const grown = Array.from({ length: 50 }, () => {
    const before = process.memoryUsage().heapUsed;
    addAges(batch, rows, Date.now(), ages);
    return process.memoryUsage().heapUsed - before;
  });
  expect(ages.count).toBe(50 * 15 * EVENTS);
  // a number for each event would be 240 kB; there is a view for each chunk of the column, and what asking costs
  expect(grown.toSorted((a, b) => a - b)[25]).toBeLessThan(15 * EVENTS);
});

const TRACE_ID_BYTES = 32;
const PAYLOAD_BYTES = EVENTS * (CONTEXT.length + TRACE_ID_BYTES);

test('each byte of an event is copied once, from the socket’s chunk into the batch', () => {
  // all events have one producer, which the batch remembers for its trace
  expect(copied([CHUNK])).toBe(PAYLOAD_BYTES + TRACEPARENT_BYTES);
});

test('only a message that straddles two chunks is copied once more', () => {
  const chunks = Array.from({ length: Math.ceil(CHUNK.length / 65_536) }, (_, i) =>
    CHUNK.subarray(i * 65_536, (i + 1) * 65_536),
  );
  const largest = 600;
  const more = copied(chunks) - PAYLOAD_BYTES;
  expect(more).toBeGreaterThan(0);
  expect(more).toBeLessThanOrEqual((chunks.length - 1) * largest);
});
