import { expect, test } from 'vitest';
import { IdleGate } from './idle-gate.ts';

const MINUTE = 60_000;

test('the gate opens while something waits and for a minute after, then once an hour', () => {
  let now = 0;
  let isBusy = false;
  const gate = new IdleGate(
    () => isBusy,
    () => now,
  );
  const opensAt = (minutes: number): boolean => {
    now = minutes * MINUTE;
    return gate.isOpen;
  };
  expect([0, 1, 1.1, 30, 60.9, 61, 61.1, 120, 121].map(opensAt)).toEqual([
    true,
    true,
    false,
    false,
    false,
    true,
    false,
    false,
    true,
  ]);
  isBusy = true;
  expect(opensAt(122)).toBe(true);
  isBusy = false;
  expect([123, 123.1].map(opensAt)).toEqual([true, false]);
});
