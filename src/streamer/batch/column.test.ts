import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { CHUNK_BYTES, ChunkPool, Column, MARK_ROWS } from './column.ts';
import { NativeReader } from './native.fixture.ts';

const bytesIn = (column: Column): number => [...column.parts()].reduce((sum, part) => sum + part.length, 0);

function readStrings(column: Column): string[] {
  const reader = new NativeReader(column.parts());
  const strings: string[] = [];
  while (!reader.isAtEnd) strings.push(reader.string());
  return strings;
}

/** Appends the bytes from the middle of a larger buffer, as they stand in a message. */
function append(column: Column, bytes: Buffer): void {
  column.string(Buffer.concat([Buffer.from('left'), bytes, Buffer.from('right')]), 4, 4 + bytes.length);
}

describe('Column of strings', () => {
  const bytes = fc.oneof(
    { weight: 6, arbitrary: fc.string({ unit: 'binary', maxLength: 40 }).map((text) => Buffer.from(text)) },
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 300 }).map((raw) => Buffer.from(raw)) },
    { weight: 1, arbitrary: fc.nat({ max: 200_000 }).map((length) => Buffer.alloc(length, 'é€😀')) },
    { weight: 1, arbitrary: fc.integer({ min: -4, max: 4 }).map((off) => Buffer.alloc(CHUNK_BYTES + off, 'z')) },
  );

  test('holds any strings, and `bytes` is the length of what `parts` yields', () => {
    fc.assert(
      fc.property(fc.array(bytes, { maxLength: 40 }), (all) => {
        const column = new Column(new ChunkPool(0));
        for (const one of all) append(column, one);
        expect(readStrings(column)).toEqual(all.map((one) => one.toString('latin1')));
        expect(bytesIn(column)).toBe(column.bytes);
      }),
    );
  });

  test('finds runs of rows from its marks, with the values that the whole column has there', () => {
    const rows = 2 * MARK_ROWS + 100;
    const row = fc.oneof(
      fc.nat({ max: rows }),
      fc.constantFrom(MARK_ROWS - 1, MARK_ROWS, MARK_ROWS + 1, 2 * MARK_ROWS),
    );
    const column = new Column(new ChunkPool(0));
    for (let i = 0; i < rows; i++) {
      if (i % MARK_ROWS === 0) column.mark();
      if (i % 5 === 0) column.empty();
      else append(column, Buffer.from(`${i}`.repeat(i % 40)));
    }
    const all = readStrings(column);
    fc.assert(
      fc.property(fc.array(row, { minLength: 2, maxLength: 6 }), (bounds) => {
        const at = bounds.toSorted((a, b) => a - b);
        const runs = at.slice(1).map((to, i) => ({ from: at[i]!, to }));
        const reader = new NativeReader(column.partsOf(runs, 0));
        const strings: string[] = [];
        while (!reader.isAtEnd) strings.push(reader.string());
        expect(strings).toEqual(all.slice(at[0], at.at(-1)));
      }),
    );
    for (const i of [1, MARK_ROWS, MARK_ROWS + 1, rows - 1]) expect(column.value(i, 0).toString()).toBe(all[i]);
  });

  test('takes one byte for an empty string, given either way', () => {
    const column = new Column(new ChunkPool(0));
    column.empty();
    append(column, Buffer.alloc(0));
    expect(readStrings(column)).toEqual(['', '']);
    expect(column.bytes).toBe(2);
  });

  test.each([0, 1, 24, 25, 127, 128, 16_383, 16_384, 200_000, CHUNK_BYTES, 2_097_152])(
    'holds a string of %d bytes wherever it begins near the end of a chunk',
    (length) => {
      const text = Buffer.alloc(length, 'abcdefg');
      for (const before of [0, 1, 2, 3, 4, 5, 23, 24, 25, 26]) {
        const column = new Column(new ChunkPool(0));
        // 3 bytes of length
        append(column, Buffer.alloc(CHUNK_BYTES - 3 - before, 'x'));
        append(column, text);
        column.empty();
        const [, read, last] = readStrings(column);
        expect(read === text.toString('latin1') && last === '').toBe(true);
      }
    },
  );
});

describe('Column of numbers and ids', () => {
  const half = fc.integer({ min: 0, max: 0xffff_ffff });

  test('holds 64-bit values given in two halves, signed or not, across chunks', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.integer(), half), { minLength: 1, maxLength: 50 }), (values) => {
        const column = new Column(new ChunkPool(0));
        const many = Array.from({ length: CHUNK_BYTES / 8 + 100 }, (_, i) => values[i % values.length]!);
        for (const [high, low] of many) column.int64({ high, low });
        const reader = new NativeReader(column.parts());
        const wrong = many.findIndex(
          ([high, low]) => reader.value("DateTime64(6, 'UTC')") !== BigInt(high) * 2n ** 32n + BigInt(low),
        );
        expect(wrong).toBe(-1);
        expect(reader.isAtEnd).toBe(true);
        expect(column.bytes).toBe(CHUNK_BYTES + 800);
      }),
      { numRuns: 10 },
    );
  });

  test('turns 64-bit values round, across chunks', () => {
    fc.assert(
      fc.property(fc.array(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), { minLength: 1, maxLength: 20 }), (values) => {
        const column = new Column(new ChunkPool(0));
        const many = Array.from({ length: CHUNK_BYTES / 8 + 100 }, (_, i) => values[i % values.length]!);
        for (const value of many) column.reversed64(Buffer.from(`09${value.toString(16).padStart(16, '0')}`, 'hex'), 1);
        const reader = new NativeReader(column.parts());
        expect(many.every((value) => reader.value('UInt64') === value)).toBe(true);
        expect(reader.isAtEnd).toBe(true);
      }),
      { numRuns: 10 },
    );
  });

  test('holds 32-bit values', () => {
    fc.assert(
      fc.property(fc.array(half, { maxLength: 50 }), (values) => {
        const column = new Column(new ChunkPool(0));
        for (const value of values) column.int32(value);
        const reader = new NativeReader(column.parts());
        expect(values.map(() => reader.value('UInt32'))).toEqual(values);
      }),
    );
  });

  test('holds UUIDs as two little-endian halves, across chunks', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ minLength: 16, maxLength: 16 }), { minLength: 1, maxLength: 20 }), (ids) => {
        const column = new Column(new ChunkPool(0));
        const many = Array.from({ length: CHUNK_BYTES / 16 + 100 }, (_, i) => Buffer.from(ids[i % ids.length]!));
        for (const id of many) column.uuid(Buffer.concat([Buffer.of(9), id]), 1);
        const reader = new NativeReader(column.parts());
        expect(many.every((id) => reader.uuid() === id.toString('hex'))).toBe(true);
        expect(reader.isAtEnd).toBe(true);
      }),
      { numRuns: 10 },
    );
    const column = new Column(new ChunkPool(0));
    column.uuid(Buffer.from('00112233445566778899aabbccddeeff', 'hex'), 0);
    expect(Buffer.concat([...column.parts()]).toString('hex')).toBe('7766554433221100ffeeddccbbaa9988');
  });
});

describe('memory of columns', () => {
  const chunksOf = (column: Column): Set<ArrayBufferLike> => new Set([...column.parts()].map((part) => part.buffer));

  test('Column fills the chunks that an earlier column released (invariant 6)', () => {
    const pool = new ChunkPool(4 * CHUNK_BYTES);
    const first = new Column(pool);
    append(first, Buffer.alloc(3 * CHUNK_BYTES + 10, 1));
    const used = chunksOf(first);
    expect(used.size).toBe(4);
    first.close();
    const second = new Column(pool);
    append(second, Buffer.alloc(3 * CHUNK_BYTES + 10, 2));
    expect(chunksOf(second)).toEqual(used);
  });

  test.each([2, 100])('ChunkPool for %d chunks keeps no more than that, and every chunk once', (keep) => {
    const pool = new ChunkPool(keep * CHUNK_BYTES);
    const column = new Column(pool);
    append(column, Buffer.alloc(5 * CHUNK_BYTES, 1));
    const used = chunksOf(column);
    column.close();
    column.close();
    const taken = Array.from({ length: 20 }, () => pool.take());
    expect(new Set(taken.map(({ buffer }) => buffer)).size).toBe(20);
    expect(taken.filter(({ buffer }) => used.has(buffer))).toHaveLength(Math.min(keep, used.size));
  });

  test('Column never shows what a chunk held before (invariant 10)', () => {
    fc.assert(
      fc.property(fc.array(fc.nat({ max: CHUNK_BYTES + 5000 }), { minLength: 1, maxLength: 8 }), (lengths) => {
        const pool = new ChunkPool(16 * CHUNK_BYTES);
        const old = new Column(pool);
        append(old, Buffer.alloc(10 * CHUNK_BYTES, 0xff));
        old.close();
        const column = new Column(pool);
        for (const length of lengths) append(column, Buffer.alloc(length, 'n'));
        expect(readStrings(column)).toEqual(lengths.map((length) => 'n'.repeat(length)));
      }),
      { numRuns: 30 },
    );
  });

  test('Column yields nothing when nothing was put into it', () => {
    const column = new Column(new ChunkPool(0));
    expect([...column.parts()]).toEqual([]);
    expect(column.bytes).toBe(0);
  });
});
