import { expect, test } from 'vitest';
import { Feed } from './batch/intake.fixture.ts';
import { progressOf } from './progress.ts';

const STATE = { delivered: { lsn: 500, seq: 1 }, pending: undefined, acked: 300, readBackBelow: 0 };

test('with a backlog, before anything is settled, the lag begins where the ledger is', () => {
  const { intake } = new Feed();
  const lagBytes = (state: typeof STATE): number =>
    progressOf(intake, { state, epoch: '1' }, { inFlight: undefined }, 10_000).lagBytes;
  expect(intake.ackable).toBe(0);
  expect(lagBytes(STATE)).toBe(9500);
  expect(lagBytes({ ...STATE, acked: 600 })).toBe(9400);
  intake.reached(9900);
  expect(lagBytes(STATE)).toBe(100);
  intake.reached(10_100);
  expect(lagBytes(STATE)).toBe(0);
});
