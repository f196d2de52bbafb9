import { expect, test } from 'vitest';
import { createLogger } from '../observe/log.ts';
import { Status } from '../observe/readiness.ts';
import { SlotWatch } from './slot-watch.ts';

const MIB = 1024 * 1024;
const LIMIT = 1024 * MIB;
const LOOK_MS = 2000;

interface Look {
  readonly retained: number;
  readonly unconfirmed: number;
  readonly walStatus?: string;
}

/** Looks at a slot now and then; says what was logged: the level of each line. */
function watch(looks: readonly Look[], everyMs = LOOK_MS): { levels: string[]; status: Status } {
  const levels: string[] = [];
  const out = { write: (line: string) => levels.push((JSON.parse(line) as { level: string }).level) };
  const status = new Status();
  const slotWatch = new SlotWatch(createLogger({ level: 'info' }, out), status);
  looks.forEach(({ retained, unconfirmed, walStatus = 'reserved' }, at) => {
    slotWatch.look(
      {
        confirmedLsn: 0,
        isSynced: false,
        activePid: undefined,
        walStatus,
        safeWalBytes: LIMIT - retained,
        retainedBytes: retained,
        unconfirmedBytes: unconfirmed,
      },
      at * everyMs,
    );
  });
  return { levels, status };
}

function times(count: number, look: (n: number) => Look): Look[] {
  return Array.from({ length: count }, (_, n) => look(n));
}

/** Who stands still while so much WAL is written. */
function stalled(bytesPerSecond: number, looks: number, from = 0): Look[] {
  return times(looks, (n) => {
    const bytes = from + n * 2 * bytesPerSecond;
    return { retained: bytes, unconfirmed: bytes };
  });
}

test('a slot that keeps up, of which WAL is let go every 15 s, is in no danger', () => {
  const { levels } = watch(times(200, (n) => ({ retained: ((n % 8) + 1) * 20 * MIB, unconfirmed: 40 * MIB })));
  expect(levels).toEqual([]);
});

test('a burst is no danger', () => {
  expect(watch([...stalled(20 * MIB, 2), ...times(30, () => ({ retained: 40 * MIB, unconfirmed: 0 }))]).levels).toEqual(
    [],
  );
});

test('a slot that stands still is said to be in danger once, also when the writing pauses, until it has caught up', () => {
  const standing = [...stalled(MIB, 100), ...times(100, () => ({ retained: 200 * MIB, unconfirmed: 200 * MIB }))];
  const { levels, status } = watch([...standing, ...stalled(MIB, 50, 200 * MIB)]);
  expect(levels).toEqual(['error']);
  expect(status.readiness.slot).toMatchObject({ runwayMinutes: 12, safeWalBytes: (1024 - 298) * MIB });
  expect(watch([...standing, { retained: 20 * MIB, unconfirmed: 0 }]).levels).toEqual(['error', 'info']);
});

test('the rate of a moment is none', () => {
  const behind = (n: number): Look => ({ retained: (200 + n) * MIB, unconfirmed: (200 + n) * MIB });
  expect(watch(times(5, behind), 20).levels).toEqual([]);
});

test('slowly, there is time', () => {
  expect(watch(stalled(MIB / 10, 1000)).levels).toEqual([]);
});

test('WAL that is kept for a transaction which stays open is a danger as well', () => {
  const looks = times(600, (n) => ({ retained: n * MIB, unconfirmed: 0 }));
  expect(watch(looks.slice(0, 500)).levels).toEqual([]);
  expect(watch(looks).levels).toEqual(['error']);
});

test('unreserved is a danger at once', () => {
  expect(watch([{ retained: 0, unconfirmed: 0, walStatus: 'unreserved' }]).levels).toEqual(['error']);
});
