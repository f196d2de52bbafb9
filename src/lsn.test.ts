import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { formatLsn, parseLsn, readLsn, writeLsn } from './lsn.ts';

const lsn = fc.maxSafeNat();
const MAX = Number.MAX_SAFE_INTEGER;

describe('binary form', () => {
  test('what is written is read back, at any offset, and nothing beside it is touched', () => {
    fc.assert(
      fc.property(lsn, fc.nat({ max: 16 }), (value, offset) => {
        const buffer = Buffer.alloc(offset + 9, 0xaa);
        writeLsn(buffer, value, offset);
        expect(readLsn(buffer, offset)).toBe(value);
        expect(buffer.readBigUInt64BE(offset)).toBe(BigInt(value));
        expect(buffer.subarray(0, offset).every((byte) => byte === 0xaa)).toBe(true);
        expect(buffer[offset + 8]).toBe(0xaa);
      }),
    );
  });

  test('2^53 − 1 is the last one that can be read', () => {
    const buffer = Buffer.alloc(8);
    buffer.writeBigUInt64BE(BigInt(MAX));
    expect(readLsn(buffer, 0)).toBe(MAX);
    for (const beyond of [BigInt(MAX) + 1n, BigInt(MAX) + 2n, 0xffff_ffff_ffff_ffffn]) {
      buffer.writeBigUInt64BE(beyond);
      expect(() => readLsn(buffer, 0)).toThrow(RangeError);
    }
  });

  test('a message cut short throws instead of giving a position', () => {
    expect(() => readLsn(Buffer.alloc(7), 0)).toThrow(RangeError);
    expect(() => readLsn(Buffer.alloc(8), 1)).toThrow(RangeError);
  });
});

describe('text form', () => {
  test('what is formatted is parsed back, in either case', () => {
    fc.assert(
      fc.property(lsn, (value) => {
        const text = formatLsn(value);
        expect(parseLsn(text)).toBe(value);
        expect(parseLsn(text.toLowerCase())).toBe(value);
      }),
    );
  });

  test.each([
    [0, '0/0'],
    [1, '0/1'],
    [0xffff_ffff, '0/FFFFFFFF'],
    [0x1_0000_0000, '1/0'],
    [0x16_b374_d848, '16/B374D848'],
    [MAX, '1FFFFF/FFFFFFFF'],
  ])('%d is %s', (value, text) => {
    expect(formatLsn(value)).toBe(text);
    expect(parseLsn(text)).toBe(value);
  });

  test('leading zeros are allowed', () => {
    expect(parseLsn('00000016/0000D848')).toBe(parseLsn('16/D848'));
  });

  test.each(['', '/', '16', '16/', '/16', '16/G', '16/123456789', '123456789/0', ' 16/0', '16/0\n', '-1/0', '1/2/3'])(
    '%j is no LSN',
    (text) => {
      expect(() => parseLsn(text)).toThrow(RangeError);
    },
  );

  test.each(['200000/0', 'FFFFFFFF/FFFFFFFF'])('%s is beyond 2^53 − 1', (text) => {
    expect(() => parseLsn(text)).toThrow(RangeError);
  });
});

test('order as numbers is order as positions', () => {
  fc.assert(
    fc.property(lsn, lsn, (a, b) => {
      const [bytesA, bytesB] = [Buffer.alloc(8), Buffer.alloc(8)];
      writeLsn(bytesA, a, 0);
      writeLsn(bytesB, b, 0);
      expect(Math.sign(a - b)).toBe(Buffer.compare(bytesA, bytesB));
    }),
  );
});
