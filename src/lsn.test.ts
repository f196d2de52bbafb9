import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { formatLsn, parseLsn, readLsn, writeLsn } from './lsn.ts';

const lsn = fc.maxSafeNat();
const MAX = Number.MAX_SAFE_INTEGER;

describe('LSN in binary form', () => {
  test('writeLsn writes at any offset what readLsn reads back, and changes no byte beside it', () => {
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

  test('readLsn reads 2^53 − 1 and rejects anything above', () => {
    const buffer = Buffer.alloc(8);
    buffer.writeBigUInt64BE(BigInt(MAX));
    expect(readLsn(buffer, 0)).toBe(MAX);
    for (const beyond of [BigInt(MAX) + 1n, BigInt(MAX) + 2n, 0xffff_ffff_ffff_ffffn]) {
      buffer.writeBigUInt64BE(beyond);
      expect(() => readLsn(buffer, 0)).toThrow(RangeError);
    }
  });

  test('readLsn throws on a message that is cut short instead of returning an LSN', () => {
    expect(() => readLsn(Buffer.alloc(7), 0)).toThrow(RangeError);
    expect(() => readLsn(Buffer.alloc(8), 1)).toThrow(RangeError);
  });
});

describe('LSN in text form', () => {
  test('parseLsn reads back what formatLsn writes, in upper and lower case', () => {
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
  ])('formatLsn(%d) is %s, and parseLsn reads it back', (value, text) => {
    expect(formatLsn(value)).toBe(text);
    expect(parseLsn(text)).toBe(value);
  });

  test('parseLsn allows leading zeros', () => {
    expect(parseLsn('00000016/0000D848')).toBe(parseLsn('16/D848'));
  });

  test.each(['', '/', '16', '16/', '/16', '16/G', '16/123456789', '123456789/0', ' 16/0', '16/0\n', '-1/0', '1/2/3'])(
    'parseLsn rejects %j',
    (text) => {
      expect(() => parseLsn(text)).toThrow(RangeError);
    },
  );

  test.each(['200000/0', 'FFFFFFFF/FFFFFFFF'])('parseLsn rejects %s, which is above 2^53 − 1', (text) => {
    expect(() => parseLsn(text)).toThrow(RangeError);
  });
});

test('writeLsn writes bytes that sort as the numbers do', () => {
  fc.assert(
    fc.property(lsn, lsn, (a, b) => {
      const [bytesA, bytesB] = [Buffer.alloc(8), Buffer.alloc(8)];
      writeLsn(bytesA, a, 0);
      writeLsn(bytesB, b, 0);
      expect(Math.sign(a - b)).toBe(Buffer.compare(bytesA, bytesB));
    }),
  );
});
