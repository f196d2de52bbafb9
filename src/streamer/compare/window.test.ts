import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { FIRST_US, LAST_US } from '../clickhouse/event-time.ts';
import { BUCKET_US, formatTime, parseDuration, parseTime, Ranges } from './window.ts';

const NOW = Date.UTC(2024, 1, 29, 12);
const us = (iso: string): bigint => BigInt(Date.parse(iso)) * 1000n;

test('parseDuration reads 0, or a whole number with a unit from ms to d, and nothing else', () => {
  expect(['0', '5ms', '90s', '30m', '24h', '7d'].map(parseDuration)).toEqual([
    0, 5, 90_000, 1_800_000, 86_400_000, 604_800_000,
  ]);
  for (const text of ['', '1', '-1s', '1.5h', '1w', ' 1s', '1s ', 'h', '9999999999d'])
    expect(parseDuration(text)).toBeUndefined();
});

test('parseTime reads a duration back from now, or an ISO time, which is UTC without an offset', () => {
  expect(parseTime('24h', NOW)).toBe(us('2024-02-28T12:00Z'));
  expect(parseTime('2024-02-29', NOW)).toBe(us('2024-02-29T00:00Z'));
  expect(parseTime('2024-02-29T23:59', NOW)).toBe(us('2024-02-29T23:59Z'));
  expect(parseTime('2024-02-29 23:59:59.123456Z', NOW)).toBe(us('2024-02-29T23:59:59Z') + 123_456n);
  expect(parseTime('2024-02-29T23:59:59.1+02:30', NOW)).toBe(us('2024-02-29T21:29:59Z') + 100_000n);
  for (const text of [
    '',
    'yesterday',
    '2023-02-29',
    '2024-02-30T00:00',
    '2024-13-01',
    '2024-02-29T25:00',
    '1709164800',
  ])
    expect(parseTime(text, NOW)).toBeUndefined();
});

test('parseTime reads back what formatTime writes, also before 1970', () => {
  fc.assert(
    fc.property(fc.bigInt({ min: FIRST_US + 1n, max: LAST_US - 1n }), (time) => {
      expect(parseTime(formatTime(time), NOW)).toBe(time);
    }),
  );
  expect(formatTime(FIRST_US)).toBe('1900-01-01T00:00:00.000000Z or earlier');
  expect(formatTime(LAST_US)).toBe('2299-12-31T23:59:59.999999Z or later');
});

test('Ranges covers every bucket with 100 ascending ranges at most, which do not touch', () => {
  fc.assert(
    fc.property(fc.uniqueArray(fc.nat(3_500_000), { maxLength: 1000 }), (given) => {
      const buckets = given.toSorted((a, b) => a - b);
      const ranges = new Ranges();
      for (const bucket of buckets) ranges.add(bucket);
      const list = ranges.list();
      expect(list.length).toBeLessThanOrEqual(100);
      list.reduce(
        (end, { from, to }) => {
          expect(from > end && to > from).toBe(true);
          return to;
        },
        -(2n ** 62n),
      );
      for (const bucket of buckets) {
        const start = FIRST_US + BigInt(bucket) * BUCKET_US;
        expect(list.some(({ from, to }) => from <= start && start + BUCKET_US <= to)).toBe(true);
      }
    }),
  );
});

test('Ranges covers few buckets exactly', () => {
  const ranges = new Ranges();
  for (const bucket of [0, 1, 2, 5, 7, 8]) ranges.add(bucket);
  const hour = (bucket: number): bigint => FIRST_US + BigInt(bucket) * BUCKET_US;
  expect(ranges.list()).toEqual([
    { from: hour(0), to: hour(3) },
    { from: hour(5), to: hour(6) },
    { from: hour(7), to: hour(9) },
  ]);
});
