import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { afterEach, expect, test, vi } from 'vitest';
import { CHUNK_BYTES } from './batch/column.ts';
import { encode } from './batch/native.ts';
import { TRACEPARENT_BYTES } from './batch/producers.ts';
import { bytesIn, CALLED_BYTES, Chunk, EVENTS, filled, inPieces, Path } from './path.fixture.ts';
import * as wire from './source/messages.fixture.ts';
import { ReadSocket } from './source/socket.ts';

const READ_BYTES = 64 * 1024;
const CHUNK = new Chunk();
const LONGEST_MESSAGE = Math.max(...CHUNK.messages.map(({ length }) => length));
/** All events of the messages have one producer, which a batch remembers for its trace. */
const ONCE = CALLED_BYTES + TRACEPARENT_BYTES;
const CONSTANTS = { source: '7300000000000000000/outbox', deliveredAtMs: 1_753_000_000_123, origin: 'stream' };
/** What a body may take beside its batch: a chunk for each column that is the same in all rows, and names. */
const BESIDE_BYTES = 4 * CHUNK_BYTES;

afterEach(() => void vi.restoreAllMocks());

/**
 * Counts the bytes that are copied into existing memory, from now until the returned function is called. Copies into new
 * memory count as allocated (allocations.test.ts, and below). Up to 24 bytes of a value are moved one by one, without a call.
 */
function countCopies(): () => number {
  const typedArray = Object.getPrototypeOf(Uint8Array.prototype) as Uint8Array;
  const copy = vi.spyOn(Buffer.prototype, 'copy');
  const set = vi.spyOn(typedArray, 'set');
  const within = vi.spyOn(typedArray, 'copyWithin');
  return () => {
    const bytes = [
      ...copy.mock.results.map(({ value }) => value as number),
      ...set.mock.calls.map(([{ length }]) => length),
      ...within.mock.results.map(({ value }) => (value as Uint8Array).length),
    ];
    for (const spy of [copy, set, within]) spy.mockRestore();
    return bytes.reduce((sum, each) => sum + each, 0);
  };
}

function copied(work: () => void): number {
  const count = countCopies();
  work();
  return count();
}

/** Bytes of buffers that some work allocates: the most of five times, because a garbage collection in between hides some. */
function buffersOf(work: () => void): number {
  const grown = Array.from({ length: 5 }, () => {
    const before = process.memoryUsage().arrayBuffers;
    work();
    return process.memoryUsage().arrayBuffers - before;
  });
  return Math.max(...grown);
}

test('the path from FrameReader to Batch copies each byte of an event once', () => {
  const { frames, intake } = new Path();
  expect(copied(() => frames.push(CHUNK.next()))).toBe(ONCE);
  expect(intake.rows).toBe(EVENTS);
});

test.each([READ_BYTES, 10_000, LONGEST_MESSAGE - 1, 100])(
  'FrameReader copies only messages that straddle two chunks once more: chunks of %d bytes',
  (size) => {
    const { frames, intake } = new Path();
    const chunks = inPieces(CHUNK.next(), size);
    const straddling = CHUNK.messages.filter(
      ({ length }, i) => Math.floor((CHUNK.ends[i]! - length) / size) !== Math.floor((CHUNK.ends[i]! - 1) / size),
    );
    expect(straddling.length).toBeGreaterThan(0);
    const more = straddling.reduce((sum, { length }) => sum + length, 0);
    expect(copied(() => chunks.forEach((chunk) => frames.push(chunk)))).toBe(ONCE + more);
    expect(intake.rows).toBe(EVENTS);
  },
);

test('FrameReader copies a message of many chunks once more, and moves none of it when more comes', () => {
  const eventContext = JSON.stringify('x'.repeat(4 * 1024 * 1024));
  const [begin, large] = wire
    .transaction({ commitLsn: 1000, endLsn: 2000, events: [{ eventContext }] })
    .map((message) => wire.xlogData(message));
  const { frames, intake } = new Path();
  frames.push(begin!);
  const bytes = copied(() => inPieces(large!, READ_BYTES).forEach((chunk) => frames.push(chunk)));
  const most = large!.length + eventContext.length;
  // its beginning, by which it is known to be wanted, is moved once
  expect(bytes).toBeLessThanOrEqual(most + 64);
  // up to 24 bytes, which the last chunk of the column gets, are moved without a call
  expect(bytes).toBeGreaterThanOrEqual(most - 24);
  expect(intake.rows).toBe(1);
});

test.each([1, 60])('encode yields the batch’s own memory and little else as the body: %d,000 rows', (chunks) => {
  const { batch, memory } = filled(chunks);
  const half = [{ from: 0, to: batch.rows >> 1 }];
  for (const runs of [undefined, half]) {
    const parts = [...encode(batch, CONSTANTS, runs)];
    expect(bytesIn(parts)).toBeGreaterThan((chunks * CALLED_BYTES) / (runs === undefined ? 1 : 2));
    const beside = new Set(parts.map(({ buffer }) => buffer).filter((buffer) => !memory.has(buffer)));
    expect(bytesIn(beside)).toBeLessThan(BESIDE_BYTES);
  }
});

test.each([1, 60])('encode copies nothing when it makes a body again for a retry: %d,000 rows', (chunks) => {
  const { batch } = filled(chunks);
  const body = (): void => {
    for (const part of encode(batch, CONSTANTS)) part.readUInt8(0);
  };
  expect(copied(body)).toBe(0);
  expect(buffersOf(body)).toBeLessThan(BESIDE_BYTES);
});

test('ReadSocket reads into one buffer, and the path to the insert’s body copies each event once', async () => {
  const sent = Array.from({ length: 20 }, () => Buffer.from(CHUNK.next()));
  await using server = createServer((client) => sent.forEach((chunk) => client.write(chunk)));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const path = new Path({ maxRows: Infinity });
  const reader = new ReadSocket();
  const memory = new Set<ArrayBufferLike>();
  let reads = 0;
  const count = countCopies();
  await new Promise<void>((resolve, reject) => {
    reader.takeOver((chunk) => {
      memory.add(chunk.buffer);
      reads++;
      path.frames.push(chunk);
      if (path.intake.rows === sent.length * EVENTS) resolve();
    });
    reader.socket.on('error', reject).connect((server.address() as AddressInfo).port, '127.0.0.1');
  });
  for (const part of encode(path.cut(), CONSTANTS)) part.readUInt8(0);
  const bytes = count();
  reader.socket.destroy();
  expect(memory.size).toBe(1);
  expect(bytes).toBeLessThanOrEqual(sent.length * CALLED_BYTES + TRACEPARENT_BYTES + reads * LONGEST_MESSAGE);
});
