import { expect, test } from 'vitest';
import { Feed } from './batch/intake.fixture.ts';
import { progressOf } from './progress.ts';

const STATE = { delivered: { lsn: 500, seq: 1 }, pending: undefined, acked: 300, readBackBelow: 0 };

test('progressOf counts the lag from what is acknowledged, not from a transaction that is delivered in part', () => {
  const { intake } = new Feed();
  const lagBytes = (state: typeof STATE): number =>
    progressOf(intake, { state, epoch: '1' }, { inFlight: undefined }, 10_000).lagBytes;
  expect(intake.ackable).toBe(0);
  expect(lagBytes(STATE)).toBe(9700);
  expect(lagBytes({ ...STATE, acked: 600 })).toBe(9400);
  intake.advanceTo(9900);
  expect(lagBytes(STATE)).toBe(100);
  intake.advanceTo(10_100);
  expect(lagBytes(STATE)).toBe(0);
});
