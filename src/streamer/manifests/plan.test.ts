import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { sealed, NO_HASH, type Manifest } from './manifest.ts';
import { HourPlan, rangesOf } from './plan.ts';
import { Tally, type EventDigests } from './tally.ts';

const eventOf = (n: number, delivered = 0): EventDigests => ({
  witnessed: n.toString(16).padStart(64, '0'),
  delivered: delivered.toString(16).padStart(64, '0'),
  lsn: '1',
  deliveredAt: '1',
  isRepaired: false,
  isErased: false,
});

function manifestOf(events: readonly EventDigests[], more: Partial<Manifest> = {}): Manifest {
  const tally = new Tally();
  for (const event of events) tally.add(event);
  const base = {
    source: 's',
    number: 1,
    hour: 7,
    part: 1,
    added: [],
    absent: [],
    madeAt: '1',
    previous: NO_HASH,
    keyId: '',
  };
  return sealed({ ...base, ...tally.result(), ...more }, undefined);
}

function verdictOf(plan: HourPlan, events: readonly EventDigests[]): string | undefined {
  const check = plan.begin();
  for (const event of events) check.add(event);
  return check.verdict()?.fault;
}

test('an hour is as its manifest says, or altered, missing, added or moved', () => {
  const events = [1, 2, 2, 3].map((n) => eventOf(n));
  const plan = new HourPlan(manifestOf(events));
  expect(verdictOf(plan, events)).toBeUndefined();
  expect(verdictOf(plan, events.slice(1))).toBe('missing');
  expect(verdictOf(plan, [...events, eventOf(4)])).toBe('added');
  expect(
    verdictOf(
      plan,
      [1, 2, 3, 3].map((n) => eventOf(n)),
    ),
  ).toBe('altered');
  expect(verdictOf(plan, [eventOf(1), eventOf(2), eventOf(2, 9), eventOf(3)])).toBe('moved');
  expect(verdictOf(plan, [])).toBe('missing');
});

test('each part of an hour is recomputed without what came later, and events that were absent may come', () => {
  const [first, second, third] = [
    [1, 4],
    [1, 2, 4],
    [1, 2, 3, 4],
  ].map((ns) => ns.map((n) => eventOf(n))) as [EventDigests[], EventDigests[], EventDigests[]];
  const plan = new HourPlan(manifestOf(first));
  plan.add(manifestOf(second, { number: 2, part: 2, added: [eventOf(2).witnessed], absent: [eventOf(3).witnessed] }));
  expect(verdictOf(plan, second)).toBeUndefined();
  // out of quarantine, and its part is not made yet
  expect(verdictOf(plan, third)).toBeUndefined();
  plan.add(manifestOf(third, { number: 3, part: 3, added: [eventOf(3).witnessed] }));
  expect(verdictOf(plan, third)).toBeUndefined();
  // who holds the key, and puts another event in by a part of its own
  const forged = new HourPlan(manifestOf(first));
  forged.add(manifestOf([eventOf(1), eventOf(5)], { number: 2, part: 2 }));
  expect(verdictOf(forged, [eventOf(1), eventOf(5)])).toBe('superseded');
});

test('rangesOf covers each hour once, in order, with about so many events', () => {
  fc.assert(
    fc.property(
      fc.array(fc.nat(20), { minLength: 1, maxLength: 50 }),
      fc.integer({ min: 1, max: 40 }),
      (counts, atOnce) => {
        const plans = new Map(counts.map((events, hour) => [hour, new HourPlan(manifestOf([], { hour, events }))]));
        const ranges = [...rangesOf(plans, { from: 0, to: counts.length }, atOnce)];
        const hours = ranges.flatMap(({ from, to }) => Array.from({ length: to - from }, (_, n) => from + n));
        expect(hours).toEqual(counts.map((_, hour) => hour));
        for (const { from, to } of ranges)
          expect(counts.slice(from, to - 1).reduce((sum, n) => sum + n, 0)).toBeLessThan(atOnce);
      },
    ),
  );
});
