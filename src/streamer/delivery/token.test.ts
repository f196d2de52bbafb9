import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Position } from '../../position.ts';
import { tokenOf } from './token.ts';

const near = fc.record({ lsn: fc.nat({ max: 3 }), seq: fc.nat({ max: 3 }) });
const far = fc.record({ lsn: fc.maxSafeNat(), seq: fc.maxSafeNat() });
const position: fc.Arbitrary<Position> = fc.oneof(near, far);

describe('tokenOf (invariants 4 and 5)', () => {
  const range = fc.record({
    source: fc.oneof(fc.constantFrom('7/a', '7/a/1', '7', ''), fc.string()),
    timeline: fc.nat({ max: 12 }),
    from: position,
    to: position,
    atMs: fc.nat(),
  });

  test('returns a token that operators can read', () => {
    const from = { lsn: 0, seq: 0 };
    const to = { lsn: 0x1_0000_0001, seq: 7 };
    expect(tokenOf({ source: '7300000000000000000/outbox', timeline: 3, from, to, atMs: 1_795_000_000_000 })).toBe(
      '7300000000000000000/outbox/3/0/0:0-1/1:7@1795000000000',
    );
  });

  test('returns the same token for the same range, and another for any other source, timeline or range', () => {
    fc.assert(
      fc.property(range, range, (a, b) => {
        expect(tokenOf(a)).toBe(tokenOf(structuredClone(a)));
        const same = JSON.stringify(a) === JSON.stringify(b);
        expect(tokenOf(a) === tokenOf(b)).toBe(same);
      }),
      { numRuns: 1000 },
    );
  });

  test('changes the token with each of its parts', () => {
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
