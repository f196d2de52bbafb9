import { expect, test } from 'vitest';
import { countRows, runsOf } from './rows.ts';

test('runsOf gives the wanted rows in runs that are as long as possible', () => {
  const runs = runsOf({ from: 2, to: 9 }, (row) => row !== 4 && row !== 8);
  expect(runs).toEqual([
    { from: 2, to: 4 },
    { from: 5, to: 8 },
  ]);
  expect(countRows(runs)).toBe(5);
  expect(runsOf({ from: 2, to: 4 }, () => false)).toEqual([]);
});
