import { expect, test } from 'vitest';
import { AckLag } from './lag.ts';

const MIB = 1024 * 1024;
const LOOK_MS = 2000;

/** The lag after each of the looks, in seconds. */
function lags(looks: readonly (readonly [confirmed: number, walEnd: number])[]): number[] {
  const lag = new AckLag();
  return looks.map(
    ([confirmedLsn, walEnd], n) =>
      lag.add({ atMs: n * LOOK_MS, confirmedLsn: confirmedLsn * MIB, walEnd: walEnd * MIB }) / 1000,
  );
}

test('who keeps up has none, also when others write much between two looks', () => {
  expect(
    lags([
      [0, 0],
      [0, 0.5],
      [100, 101],
      [200, 201],
    ]),
  ).toEqual([0, 0, 0, 0]);
});

test('who stands still is later and later, from the first look at what is not acknowledged', () => {
  expect(
    lags([
      [0, 0],
      [0, 10],
      [0, 20],
      [0, 20],
    ]),
  ).toEqual([0, 0, 2, 4]);
});

test('who catches up is as late as the oldest that is left', () => {
  expect(
    lags([
      [0, 10],
      [0, 20],
      [0, 30],
      [15, 40],
      [30, 50],
      [49, 50],
    ]),
  ).toEqual([0, 2, 4, 4, 2, 0]);
});

test('after days of looks it is still about right', () => {
  const lag = new AckLag();
  let last = 0;
  for (let n = 0; n < 100_000; n++) last = lag.add({ atMs: n * LOOK_MS, confirmedLsn: 0, walEnd: (n + 3) * MIB });
  expect(last).toBe(99_999 * LOOK_MS);
  const confirmedLsn = 50_000 * MIB;
  const halved = lag.add({ atMs: 100_000 * LOOK_MS, confirmedLsn, walEnd: 100_003 * MIB });
  expect(halved / (50_000 * LOOK_MS)).toBeGreaterThan(0.95);
  expect(halved).toBeLessThanOrEqual(50_003 * LOOK_MS);
});
