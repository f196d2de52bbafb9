import { expect, test } from 'vitest';
import { largestOf, perMillion, quantile, sparkline, spreadOf } from './figures.ts';
import { agesOf } from './freshness.ts';

test('spreadOf ignores undefined values', () => {
  expect(spreadOf([3, undefined, 1, 2])).toEqual({ median: 2, min: 1, max: 3 });
  expect(spreadOf([4, 1])).toEqual({ median: 2.5, min: 1, max: 4 });
  expect(spreadOf([undefined])).toBeUndefined();
});

test('quantile returns one of the measured values', () => {
  const hundred = Array.from({ length: 100 }, (_, i) => i + 1);
  expect([quantile(hundred, 0.5), quantile(hundred, 0.99), quantile(hundred, 1)]).toEqual([50, 99, 100]);
  expect(quantile([7], 0.99)).toBe(7);
});

test('perMillion scales a value, and leaves undefined as it is', () => {
  expect(perMillion(2, 100_000)).toBe(20);
  expect(perMillion(undefined, 100_000)).toBeUndefined();
});

test('largestOf and sparkline keep the maximum of each slice', () => {
  expect(largestOf([1, 5, 2, 3], 2)).toEqual([5, 3]);
  expect(largestOf([1, 2], 5)).toEqual([1, 2]);
  expect(sparkline([1, 4, 8], 8)).toBe('▁▄█');
});

test('agesOf measures up to the first count that includes the last row of an insert, and throws if there is none', () => {
  const looks = [
    { atMs: 1000, rows: 2 },
    { atMs: 1010, rows: 3 },
    { atMs: 2000, rows: 5 },
  ];
  const commits = [
    { insert: 'b', committedUs: 1_500_000, rows: 2 },
    { insert: 'a', committedUs: 400_000, rows: 1 },
    { insert: 'a', committedUs: 900_500, rows: 2 },
  ];
  expect(agesOf(looks, commits)).toEqual([109.5, 109.5, 500, 500, 610]);
  expect(() => agesOf(looks.slice(0, 2), commits)).toThrow('never seen');
});
