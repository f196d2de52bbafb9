import { expect, test } from 'vitest';
import { countRows, runsOf, sharesOf } from './rows.ts';

test.each([
  [1, 1],
  [2, 2],
  [7, 2],
  [7, 3],
  [100_000, 8],
])('%i rows in %i shares: one behind the other, and as equal as can be', (rows, count) => {
  const shares = sharesOf({ from: 5, to: 5 + rows }, count);
  expect(shares).toHaveLength(count);
  expect(shares[0]!.from).toBe(5);
  expect(shares.at(-1)!.to).toBe(5 + rows);
  expect(shares.slice(1).map(({ from }) => from)).toEqual(shares.slice(0, -1).map(({ to }) => to));
  const sizes = shares.map((share) => countRows([share]));
  expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThanOrEqual(1);
});

test('runs are as long as can be', () => {
  expect(runsOf({ from: 2, to: 9 }, (row) => row !== 4 && row !== 8)).toEqual([
    { from: 2, to: 4 },
    { from: 5, to: 8 },
  ]);
  expect(runsOf({ from: 2, to: 4 }, () => false)).toEqual([]);
});
