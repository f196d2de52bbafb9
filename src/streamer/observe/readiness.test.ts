import { expect, test } from 'vitest';
import { OutboxError } from '../../errors.ts';
import { Status } from './readiness.ts';
import type { StatusOptions } from './readiness.ts';

/** What ClickHouse is asked for. */
const WORK = {};

const SLOT = { walStatus: 'reserved', safeWalBytes: undefined, runwayMinutes: undefined, endangered: false };
const NO_LAG = { bytes: 0, ms: 0 };

/** A status whose clock stands until it is moved. */
function statusAt(options: StatusOptions = {}) {
  const clock = { ms: 1000 };
  const status = new Status({ now: () => clock.ms, ...options });
  const codes = (): string[] => status.readiness.reasons.map(({ code }) => code);
  return { status, codes, pass: (ms: number) => void (clock.ms += ms) };
}

function streaming(options: StatusOptions = {}) {
  const it = statusAt(options);
  it.status.streaming();
  it.status.clickhouseAnswered(WORK);
  return it;
}

test('it is ready once it is attached and ClickHouse has answered', () => {
  const { status, codes } = statusAt();
  expect(status.readiness).toMatchObject({ ready: false, state: 'starting' });
  expect(codes()).toEqual(['OUTBOX_FLOW_STARTING']);
  status.streaming();
  expect(codes()).toEqual(['OUTBOX_FLOW_STARTING']);
  status.clickhouseAnswered(WORK);
  expect(status.readiness).toEqual({ ready: true, state: 'streaming', reasons: [] });
});

test('what ended the session is the reason until the next is attached', () => {
  const { status, codes } = streaming();
  status.slotSeen(SLOT, NO_LAG);
  status.notStreaming(new OutboxError('OUTBOX_SLOT_INVALID', { detail: 'it is invalidated (wal_removed)' }));
  expect(status.readiness).toEqual({
    ready: false,
    state: 'not streaming',
    reasons: [{ code: 'OUTBOX_SLOT_INVALID', detail: 'it is invalidated (wal_removed)' }],
  });
  status.streaming();
  status.clickhouseAnswered(WORK);
  expect(codes()).toEqual([]);
});

test('what the slot showed stays known while failing sessions look at it, and no longer', () => {
  const { status, codes } = streaming();
  const fail = (): void => status.notStreaming(new OutboxError('OUTBOX_PG_PRIVILEGE'));
  const endangered = { ...SLOT, endangered: true };
  status.slotSeen(endangered, NO_LAG);
  fail();
  expect(status.readiness).toMatchObject({ state: 'not streaming', slot: endangered });
  status.slotSeen(endangered, { bytes: 1e9, ms: 1e9 });
  fail();
  expect(status.readiness).toMatchObject({ slot: endangered, lag: { ms: 1e9 } });
  expect(codes()).toEqual(['OUTBOX_PG_PRIVILEGE']);
  fail();
  expect(status.readiness).not.toHaveProperty('slot');
  expect(status.readiness).not.toHaveProperty('lag');
});

test('what ClickHouse answered to a session before is nothing to go by', () => {
  const { status, codes } = streaming();
  status.notStreaming(new OutboxError('OUTBOX_PG_UNREACHABLE'));
  status.streaming();
  expect(codes()).toEqual(['OUTBOX_FLOW_STARTING']);
  expect(status.isClickHouseWritable).toBeUndefined();
});

test('an error without a code says nothing of itself', () => {
  const { status } = streaming();
  status.notStreaming(new TypeError('canary'));
  expect(status.readiness.reasons).toMatchObject([{ code: 'OUTBOX_FLOW_FAILED' }]);
  expect(JSON.stringify(status.readiness)).not.toContain('canary');
});

test('silence of Postgres is a reason, for a holder as for a standby', () => {
  for (const stand of ['streaming', 'standingBy'] as const) {
    const { status, codes, pass } = streaming();
    status[stand]();
    status.clickhouseAnswered(WORK);
    pass(5000);
    expect(codes()).toEqual([]);
    pass(1000);
    expect(codes()).toEqual(['OUTBOX_PG_UNREACHABLE']);
    if (stand === 'streaming') status.slotSeen(SLOT, NO_LAG);
    else status.standingBy();
    expect(codes()).toEqual([]);
  }
});

test('an insert without an answer is a reason after a while, and none once it is answered', () => {
  const { status, codes, pass } = streaming();
  const answered = status.inserting();
  for (let s = 0; s < 15; s++) {
    pass(1000);
    status.slotSeen(SLOT, NO_LAG);
  }
  expect(codes()).toEqual([]);
  pass(1000);
  expect(codes()).toEqual(['OUTBOX_FLOW_STALLED']);
  answered();
  expect(codes()).toEqual([]);
});

test('what a probe and an insert both meet is said once', () => {
  const { status, codes } = streaming();
  status.clickhouseFailed(WORK, 'OUTBOX_CH_UNREACHABLE');
  status.clickhouseProbed({ code: 'OUTBOX_CH_UNREACHABLE', detail: 'no answer' });
  expect(codes()).toEqual(['OUTBOX_CH_UNREACHABLE']);
  status.clickhouseProbed(undefined);
  expect(codes()).toEqual(['OUTBOX_CH_UNREACHABLE']);
  status.clickhouseAnswered(WORK);
  expect(codes()).toEqual([]);
});

test('a standby is ready, unless it could not deliver either', () => {
  const { status, codes } = statusAt();
  status.clickhouseFailed(WORK, 'OUTBOX_CH_ROW_REFUSED');
  status.standingBy();
  expect(status.readiness).toMatchObject({ ready: true, state: 'standing by' });
  status.clickhouseProbed({ code: 'OUTBOX_CH_AUTH', detail: 'refused' });
  expect(codes()).toEqual(['OUTBOX_CH_AUTH']);
});

test('a lag beyond the limit is a reason, without a limit never', () => {
  const late = { bytes: 1e9, ms: 61_000 };
  const limited = streaming({ maxLagMs: 60_000 });
  limited.status.slotSeen(SLOT, { ...late, ms: 60_000 });
  expect(limited.codes()).toEqual([]);
  limited.status.slotSeen(SLOT, late);
  expect(limited.codes()).toEqual(['OUTBOX_FLOW_LATE']);
  expect(limited.status.readiness.lag).toEqual(late);
  const unlimited = streaming();
  unlimited.status.slotSeen(SLOT, { ...late, ms: 1e12 });
  expect(unlimited.codes()).toEqual([]);
  limited.status.standingBy();
  expect(limited.status.readiness).toMatchObject({ ready: true, lag: late });
});
