import { expect, test } from 'vitest';
import { Feed } from './batch/intake.fixture.ts';
import { progressOf } from './progress.ts';
import { UnreadWal } from './source/unread-wal.ts';

const STATE = { delivered: { lsn: 500, seq: 1 }, pending: undefined, acked: 300, readBackBelow: 0, target: undefined };

test('progressOf counts the lag from what is acknowledged, not from a transaction that is delivered in part', () => {
  const { intake } = new Feed();
  const lagBytes = (state: typeof STATE): number =>
    progressOf(intake, { state, epoch: '1' }, { inFlight: undefined }, 10_000, new UnreadWal()).lagBytes;
  expect(intake.ackable).toBe(0);
  expect(lagBytes(STATE)).toBe(9700);
  expect(lagBytes({ ...STATE, acked: 600 })).toBe(9400);
  intake.advanceTo(9900);
  expect(lagBytes(STATE)).toBe(100);
  intake.advanceTo(10_100);
  expect(lagBytes(STATE)).toBe(0);
});

test('progressOf dates what waits by WAL that was not read while no event was', () => {
  const { intake } = new Feed();
  const unread = new UnreadWal();
  const oldest = (): number | undefined =>
    progressOf(intake, { state: STATE, epoch: '1' }, { inFlight: undefined }, 10_000, unread).oldestSeconds;
  expect(oldest()).toBeUndefined();
  unread.sample(10_000, 1_790_000_000);
  expect(oldest()).toBe(1_790_000_000);
  intake.advanceTo(10_000);
  expect(oldest()).toBeUndefined();
});
