import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { Histogram } from '../observe/histogram.ts';
import { addAges, committedSecondsOf } from './age.ts';
import { Feed } from './intake.fixture.ts';

const BOUNDS = [1, 5, 30];
/** 2026-01-01, in seconds since 1970 and in µs since 2000. */
const EPOCH = 1_767_225_600;
const wireTime = (seconds: number): bigint => BigInt(seconds - 946_684_800) * 1_000_000n;

test('addAges counts each event with the age of its commit, whatever rows it is given', () => {
  fc.assert(
    fc.property(
      fc.array(fc.record({ seconds: fc.nat({ max: 60 }), events: fc.integer({ min: 1, max: 5 }) }), { minLength: 1 }),
      fc.nat(),
      fc.nat(),
      (transactions, a, b) => {
        const feed = new Feed().transactions(
          ...transactions.map(({ seconds, events }, i) => ({
            commitLsn: 1000 + i * 100,
            endLsn: 1050 + i * 100,
            time: wireTime(EPOCH + seconds),
            events: Array.from({ length: events }, () => ({})),
          })),
        );
        const [batch] = feed.cutAll();
        const ages = transactions.flatMap(({ seconds, events }) => Array.from({ length: events }, () => 60 - seconds));
        const [from, to] = [a % (ages.length + 1), b % (ages.length + 1)].toSorted((x, y) => x - y) as [number, number];
        const histogram = new Histogram(BOUNDS);
        addAges(batch!, { from, to }, (EPOCH + 60) * 1000, histogram);
        const expected = new Histogram(BOUNDS);
        for (const age of ages.slice(from, to)) expected.add(age);
        expect(histogram).toEqual(expected);
        expect(committedSecondsOf(batch!, 0)).toBe(EPOCH + transactions[0]!.seconds);
      },
    ),
  );
});

test('addAges counts more rows than a chunk of the column holds', () => {
  const transactions = Array.from({ length: 40 }, (_, i) => ({
    commitLsn: 1000 + i * 100,
    endLsn: 1050 + i * 100,
    time: wireTime(EPOCH),
    events: Array.from({ length: 1000 }, () => ({ eventContext: '{}' })),
  }));
  const [batch] = new Feed({ maxRows: 100_000, maxBytes: 64 * 1024 * 1024 }).transactions(...transactions).cutAll();
  const histogram = new Histogram(BOUNDS);
  addAges(batch!, { from: 1, to: 40_000 }, EPOCH * 1000 + 2000, histogram);
  expect([...histogram.counts]).toEqual([0, 39_999, 0, 0]);
  expect(histogram.sum).toBe(79_998);
});

test('addAges counts no age below zero, whatever the clocks say', () => {
  const transaction = { commitLsn: 1000, endLsn: 1040, time: wireTime(EPOCH), events: [{}] };
  const [batch] = new Feed().transactions(transaction).cutAll();
  const histogram = new Histogram(BOUNDS);
  addAges(batch!, { from: 0, to: 1 }, EPOCH * 1000 - 5000, histogram);
  expect(histogram).toMatchObject({ sum: 0, count: 1 });
});
