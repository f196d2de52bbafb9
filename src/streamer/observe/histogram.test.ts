import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { Histogram } from './histogram.ts';

const BOUNDS = [0.1, 1, 10];

test('Histogram counts a value in the first bucket whose bound is not below it', () => {
  const histogram = new Histogram(BOUNDS);
  for (const value of [0, 0.1, 0.11, 1, 9.99, 10, 10.01, Infinity]) histogram.add(value);
  expect([...histogram.counts]).toEqual([2, 2, 2, 2]);
});

test('Histogram counts many equal values at once as it counts them one by one', () => {
  fc.assert(
    fc.property(
      fc.array(fc.record({ value: fc.integer({ min: 0, max: 20 }), times: fc.integer({ min: 1, max: 50 }) })),
      (additions) => {
        const [together, single] = [new Histogram(BOUNDS), new Histogram(BOUNDS)];
        for (const { value, times } of additions) {
          together.add(value, times);
          for (let i = 0; i < times; i++) single.add(value);
        }
        expect(together).toEqual(single);
        expect(together.count).toBe(additions.reduce((sum, { times }) => sum + times, 0));
      },
    ),
  );
});
