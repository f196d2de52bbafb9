import { afterEach, expect, test, vi } from 'vitest';
import { addAges } from './batch/age.ts';
import { Histogram } from './observe/histogram.ts';
import { Chunk, EVENTS, inPieces, Path } from './path.fixture.ts';
import { FRAME_HEADER_BYTES } from './source/frames.ts';
import * as wire from './source/messages.fixture.ts';

const CHUNK = new Chunk();

afterEach(() => void vi.restoreAllMocks());

/** Bytes of the heap, and of buffers beside it. */
function inUse(): number {
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

/** What some work allocates, in bytes: the median of many times, see below. */
function allocated(work: () => void): number {
  const grown = Array.from({ length: 200 }, () => {
    const before = inUse();
    work();
    return inUse() - before;
  });
  return grown.toSorted((a, b) => a - b)[100]!;
}

/**
 * Counts what is allocated, not what survives: the growth over one chunk of 1000 events, which is far too short to fill the
 * young generation. A garbage collection, a new batch or a compilation spoils the chunk that it falls into, but not the
 * median over 200 chunks. The compiler optimises when it pleases, so the rounds go on until it has, 20 at most.
 */
function leastAllocated(bound: number, work: () => void): number {
  let least = Infinity;
  for (let round = 0; round < 20 && least >= bound; round++) least = Math.min(least, allocated(work));
  return least;
}

test.each([
  { per: 100, size: 1024 * 1024 },
  { per: 100, size: 64 * 1024 },
  { per: 1, size: 64 * 1024 },
])(
  'FrameReader and Intake allocate next to nothing per event: $per a transaction, $size bytes a read (invariant 6)',
  ({ per, size }) => {
    const path = new Path();
    const chunk = new Chunk(per);
    const reads = inPieces(chunk.next(), size);
    // an object, a string or a view for each event would take 24 to 100 bytes, a boxed number 16. The test measures
    // one byte, most of it the cost of measuring. The compiler may box three or four positions of each transaction
    const bound = 8 * EVENTS + (EVENTS / per) * 5 * 16;
    const least = leastAllocated(bound, () => {
      chunk.next();
      for (const read of reads) path.frames.push(read);
    });
    expect(least).toBeLessThan(bound);
    expect(path.cuts).toBeGreaterThanOrEqual(9);
  },
);

const KEEPALIVES = 3000;

/** Keepalives in one chunk. Each call moves their positions further on in WAL. */
function keepalives(): () => Buffer {
  const all = Array.from({ length: KEEPALIVES }, (_, i) => wire.keepalive(0x7f_0000_0000 + i));
  const chunk = Buffer.concat(all);
  const { length } = all[0]!;
  let high = 0x7f;
  return () => {
    high++;
    for (let i = 0; i < KEEPALIVES; i++) chunk.writeUInt32BE(high, i * length + FRAME_HEADER_BYTES + 1);
    return chunk;
  };
}

test.each(['idle', 'buffering'])(
  'FrameReader and Intake allocate at most a boxed position for a keepalive: %s',
  (state) => {
    const path = new Path();
    if (state === 'buffering') path.frames.push(CHUNK.next());
    const next = keepalives();
    // a boxed position takes 16 bytes, and whether the compiler boxes it is its own affair; an object would take 24 to 100
    const bound = 20 * KEEPALIVES;
    expect(leastAllocated(bound, () => path.frames.push(next()))).toBeLessThan(bound);
    expect(path.intake.isIdle).toBe(state === 'idle');
    expect(path.owed > 0).toBe(state === 'idle');
  },
);

test('ChunkPool allocates nothing for later batches, which fill the chunks of earlier ones (invariant 6)', () => {
  const path = new Path();
  for (let i = 0; i < 60; i++) path.frames.push(CHUNK.next());
  const allocate = vi.spyOn(Buffer, 'allocUnsafeSlow');
  for (let i = 0; i < 60; i++) path.frames.push(CHUNK.next());
  expect(path.cuts).toBeGreaterThanOrEqual(5);
  expect(allocate).not.toHaveBeenCalled();
});

test('addAges allocates nothing for each event that it counts', () => {
  const { frames, intake } = new Path();
  for (let i = 0; i < 15; i++) frames.push(CHUNK.next());
  const batch = intake.cut();
  const ages = new Histogram([1, 10, 100]);
  const rows = { from: 0, to: batch.rows };
  const grown = allocated(() => addAges(batch, rows, Date.now(), ages));
  expect(ages.count).toBe(200 * 15 * EVENTS);
  // a number for each event would take 240 kB; what remains is a view for each chunk of the column, and measuring
  expect(grown).toBeLessThan(15 * EVENTS);
});
