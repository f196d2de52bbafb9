import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { comparePositions, formatPosition, START, tokenOf, tokenOfInsert } from './position.ts';
import type { Position } from './position.ts';

const near = fc.record({ lsn: fc.nat({ max: 3 }), seq: fc.nat({ max: 3 }) });
const far = fc.record({ lsn: fc.maxSafeNat(), seq: fc.maxSafeNat() });
const position: fc.Arbitrary<Position> = fc.oneof(near, far);

describe('order', () => {
  test('is that of the pairs, exact up to 2^53 − 1', () => {
    fc.assert(
      fc.property(position, position, (a, b) => {
        const [left, right] = [a, b].map(({ lsn, seq }) => (BigInt(lsn) << 64n) + BigInt(seq)) as [bigint, bigint];
        expect(Math.sign(comparePositions(a, b))).toBe(left < right ? -1 : left > right ? 1 : 0);
      }),
    );
  });

  test('the transaction counts before the number in it', () => {
    expect(comparePositions({ lsn: 1, seq: 9 }, { lsn: 2, seq: 1 })).toBeLessThan(0);
    expect(comparePositions({ lsn: 2, seq: 2 }, { lsn: 2, seq: 1 })).toBeGreaterThan(0);
  });

  test('START is before every event', () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), fc.integer({ min: 1 }), (lsn, seq) => {
        expect(comparePositions(START, { lsn, seq })).toBeLessThan(0);
      }),
    );
  });
});

test('a position is written as Postgres writes an LSN, and its number', () => {
  expect(formatPosition({ lsn: 0x16_b374_d848, seq: 12 })).toBe('16/B374D848:12');
});

describe('the token (invariants 4 and 5)', () => {
  const range = fc.record({
    source: fc.oneof(fc.constantFrom('7/a', '7/a/1', '7', ''), fc.string()),
    timeline: fc.nat({ max: 12 }),
    from: position,
    to: position,
    atMs: fc.nat(),
  });

  test('has a form that operators can read', () => {
    const from = { lsn: 0, seq: 0 };
    const to = { lsn: 0x1_0000_0001, seq: 7 };
    expect(tokenOf({ source: '7300000000000000000/outbox', timeline: 3, from, to, atMs: 1_795_000_000_000 })).toBe(
      '7300000000000000000/outbox/3/0/0:0-1/1:7@1795000000000',
    );
  });

  test('is the same for the same range, and another one for every other source, timeline or range', () => {
    fc.assert(
      fc.property(range, range, (a, b) => {
        expect(tokenOf(a)).toBe(tokenOf(structuredClone(a)));
        const same = JSON.stringify(a) === JSON.stringify(b);
        expect(tokenOf(a) === tokenOf(b)).toBe(same);
      }),
      { numRuns: 1000 },
    );
  });

  test('changes with each of its parts alone', () => {
    fc.assert(
      fc.property(range, (a) => {
        const others = [
          { ...a, source: `${a.source}0` },
          { ...a, timeline: a.timeline + 1 },
          { ...a, atMs: a.atMs + 1 },
          ...(['from', 'to'] as const).flatMap((end) => [
            { ...a, [end]: { ...a[end], lsn: a[end].lsn ^ 1 } },
            { ...a, [end]: { ...a[end], seq: a[end].seq === 0 ? 1 : a[end].seq - 1 } },
          ]),
        ].map((intent) => tokenOf(intent));
        expect(new Set([tokenOf(a), ...others]).size).toBe(others.length + 1);
      }),
    );
  });
});

test('inserts of the same rows have tokens of their own; one alone has that of all', () => {
  expect(tokenOfInsert('t', 0, 1)).toBe('t');
  expect([0, 1, 2].map((index) => tokenOfInsert('t', index, 3))).toEqual(['t/1of3', 't/2of3', 't/3of3']);
});
