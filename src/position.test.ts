import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { comparePositions, formatPosition, START, type Position } from './position.ts';

const near = fc.record({ lsn: fc.nat({ max: 3 }), seq: fc.nat({ max: 3 }) });
const far = fc.record({ lsn: fc.maxSafeNat(), seq: fc.maxSafeNat() });
const position: fc.Arbitrary<Position> = fc.oneof(near, far);

describe('comparePositions', () => {
  test('orders positions as pairs of numbers, exactly up to 2^53 − 1', () => {
    fc.assert(
      fc.property(position, position, (a, b) => {
        const [left, right] = [a, b].map(({ lsn, seq }) => (BigInt(lsn) << 64n) + BigInt(seq)) as [bigint, bigint];
        expect(Math.sign(comparePositions(a, b))).toBe(left < right ? -1 : left > right ? 1 : 0);
      }),
    );
  });

  test('compares the transactions first, then the numbers in them', () => {
    expect(comparePositions({ lsn: 1, seq: 9 }, { lsn: 2, seq: 1 })).toBeLessThan(0);
    expect(comparePositions({ lsn: 2, seq: 2 }, { lsn: 2, seq: 1 })).toBeGreaterThan(0);
  });

  test('puts START before every event', () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), fc.integer({ min: 1 }), (lsn, seq) => {
        expect(comparePositions(START, { lsn, seq })).toBeLessThan(0);
      }),
    );
  });
});

test('formatPosition writes the LSN as Postgres does, then the number', () => {
  expect(formatPosition({ lsn: 0x16_b374_d848, seq: 12 })).toBe('16/B374D848:12');
});
