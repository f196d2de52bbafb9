import { expect, test } from 'vitest';
import { lagOf } from './lag.ts';

const PROGRESS = { bufferedEvents: 0, bufferedBytes: 0, lagBytes: 77, deliveredLsn: 0, ackedLsn: 0, epoch: 1 };

test('lagOf gives the age of the oldest event that is not delivered, and the bytes of WAL', () => {
  expect(lagOf({ ...PROGRESS, oldestSeconds: 1000 }, 1_002_500)).toEqual({ seconds: 2.5, bytes: 77 });
});

test('lagOf gives no age without an event, nor for one whose commit lies ahead of this clock', () => {
  expect(lagOf({ ...PROGRESS, oldestSeconds: undefined }, 1_002_500).seconds).toBe(0);
  expect(lagOf({ ...PROGRESS, oldestSeconds: 1003 }, 1_002_500).seconds).toBe(0);
});
