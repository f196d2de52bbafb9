import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { createBackoff } from './backoff.ts';

const limits = fc.record({
  baseMs: fc.integer({ min: 1, max: 10_000 }),
  maxMs: fc.integer({ min: 1, max: 1_000_000 }),
});
const random = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
const HIGHEST = 1 - Number.EPSILON / 2;

test('createBackoff keeps every pause between half the base and a ceiling that doubles up to the cap', () => {
  fc.assert(
    fc.property(limits, fc.array(random, { maxLength: 60 }), ({ baseMs, maxMs }, draws) => {
      let draw = 0;
      const backoff = createBackoff({ baseMs, maxMs, random: () => draw });
      for (const [attempt, value] of draws.entries()) {
        draw = value;
        const pause = backoff.next();
        expect(pause).toBeGreaterThanOrEqual(Math.min(baseMs, maxMs) / 2);
        expect(pause).toBeLessThanOrEqual(Math.min(maxMs, baseMs * 2 ** attempt));
        expect(pause).toBeGreaterThan(0);
        expect(Number.isSafeInteger(pause)).toBe(true);
      }
    }),
  );
});

test('createBackoff draws pauses from the whole span up to the ceiling: full jitter', () => {
  fc.assert(
    fc.property(limits, fc.nat({ max: 30 }), ({ baseMs, maxMs }, attempt) => {
      const high = createBackoff({ baseMs, maxMs, random: () => HIGHEST });
      const low = createBackoff({ baseMs, maxMs, random: () => 0 });
      for (let i = 0; i < attempt; i++) {
        high.next();
        low.next();
      }
      expect(high.next()).toBe(Math.min(maxMs, baseMs * 2 ** attempt));
      expect(low.next()).toBe(Math.ceil(Math.min(baseMs, maxMs) / 2));
    }),
  );
});

test('createBackoff stays at the cap for as long as an outage lasts', () => {
  const backoff = createBackoff({ baseMs: 100, maxMs: 30_000, random: () => HIGHEST });
  for (let i = 0; i < 5000; i++) backoff.next();
  expect(backoff.next()).toBe(30_000);
});

test('createBackoff begins again at the base after reset', () => {
  fc.assert(
    fc.property(limits, fc.nat({ max: 100 }), random, (limit, attempts, draw) => {
      const backoff = createBackoff({ ...limit, random: () => draw });
      const first = backoff.next();
      for (let i = 0; i < attempts; i++) backoff.next();
      backoff.reset();
      expect(backoff.next()).toBe(first);
    }),
  );
});

test.each([0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY])('createBackoff rejects %d milliseconds', (wrong) => {
  expect(() => createBackoff({ baseMs: wrong, maxMs: 1000 })).toThrow(RangeError);
  expect(() => createBackoff({ baseMs: 100, maxMs: wrong })).toThrow(RangeError);
});
