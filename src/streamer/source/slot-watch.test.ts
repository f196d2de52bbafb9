import { expect, test } from 'vitest';
import type { SlotHealth } from '../observe/readiness.ts';
import { SlotWatch } from './slot-watch.ts';

const MIB = 1024 * 1024;
const LIMIT = 1024 * MIB;
const EVERY_MS = 2000;

interface Seen {
  readonly retained: number;
  readonly unconfirmed: number;
  readonly walStatus?: string;
}

/** The health of a slot after these observations, and each change between danger and none. */
function watch(seen: readonly Seen[], everyMs = EVERY_MS, walBytesPerSecond = 0) {
  const slotWatch = new SlotWatch();
  const changes: boolean[] = [];
  let health: SlotHealth | undefined;
  seen.forEach(({ retained, unconfirmed, walStatus = 'reserved' }, at) => {
    const was = health?.endangered ?? false;
    health = slotWatch.observe(
      {
        confirmedLsn: 0,
        isSynced: false,
        activePid: undefined,
        foreignHolder: undefined,
        walStatus,
        safeWalBytes: LIMIT - retained,
        retainedBytes: retained,
        unconfirmedBytes: unconfirmed,
        walBytesPerSecond,
      },
      at * everyMs,
    );
    if (health.endangered !== was) changes.push(health.endangered);
  });
  return { changes, health: health! };
}

function times(count: number, see: (n: number) => Seen): Seen[] {
  return Array.from({ length: count }, (_, n) => see(n));
}

/** A slot that stands still while so much WAL is written. */
function stalled(bytesPerSecond: number, count: number, from = 0): Seen[] {
  return times(count, (n) => {
    const bytes = from + n * 2 * bytesPerSecond;
    return { retained: bytes, unconfirmed: bytes };
  });
}

test('SlotWatch sees no danger for a slot that keeps up, whose WAL is removed every 15 seconds', () => {
  const { changes } = watch(times(200, (n) => ({ retained: ((n % 8) + 1) * 20 * MIB, unconfirmed: 40 * MIB })));
  expect(changes).toEqual([]);
});

test('SlotWatch sees no danger in a burst', () => {
  const burst = [...stalled(20 * MIB, 2), ...times(30, () => ({ retained: 40 * MIB, unconfirmed: 0 }))];
  expect(watch(burst).changes).toEqual([]);
});

test('SlotWatch calls a stalled slot endangered until it has caught up, also while nothing is written', () => {
  const standing = [...stalled(MIB, 100), ...times(100, () => ({ retained: 200 * MIB, unconfirmed: 200 * MIB }))];
  const { changes, health } = watch([...standing, ...stalled(MIB, 50, 200 * MIB)]);
  expect(changes).toEqual([true]);
  expect(health).toMatchObject({ runwayMinutes: 12, safeWalBytes: (1024 - 298) * MIB });
  expect(watch([...standing, { retained: 20 * MIB, unconfirmed: 0 }]).changes).toEqual([true, false]);
});

test('SlotWatch computes no rate over less than a second', () => {
  const behind = (n: number): Seen => ({ retained: (200 + n) * MIB, unconfirmed: (200 + n) * MIB });
  expect(watch(times(5, behind), 20).changes).toEqual([]);
});

test('SlotWatch sees no danger when the runway is longer than an hour', () => {
  expect(watch(stalled(MIB / 10, 1000)).changes).toEqual([]);
});

test('SlotWatch calls a slot endangered when a transaction that stays open keeps its WAL', () => {
  const seen = times(600, (n) => ({ retained: n * MIB, unconfirmed: 0 }));
  expect(watch(seen.slice(0, 500)).changes).toEqual([]);
  expect(watch(seen).changes).toEqual([true]);
});

test('SlotWatch calls an unreserved slot endangered at once', () => {
  expect(watch([{ retained: 0, unconfirmed: 0, walStatus: 'unreserved' }]).changes).toEqual([true]);
});

test('SlotWatch takes Postgres’ average rate of WAL when it sees a slot for the first time', () => {
  const behind = { retained: 424 * MIB, unconfirmed: 424 * MIB };
  expect(watch([behind], EVERY_MS, MIB).health).toMatchObject({ runwayMinutes: 10, endangered: true });
  expect(watch([behind], EVERY_MS, 0).health).toMatchObject({ runwayMinutes: undefined, endangered: false });
  const standing = watch([behind, behind], EVERY_MS, MIB);
  expect(standing.health).toMatchObject({ runwayMinutes: undefined, endangered: true });
});
