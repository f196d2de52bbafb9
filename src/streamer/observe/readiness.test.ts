import { expect, test } from 'vitest';
import { OutboxError } from '../../errors.ts';
import type { Progress } from './measures.ts';
import { Readiness, type ReadinessOptions } from './readiness.ts';

const SLOT = { walStatus: 'reserved', safeWalBytes: undefined, runwayMinutes: undefined, endangered: false };

/** The progress of an attachment whose oldest event was committed so many seconds ago. */
function progressOf(ageSeconds: number): Progress {
  return {
    bufferedEvents: 1,
    bufferedBytes: 1,
    oldestSeconds: Date.now() / 1000 - ageSeconds,
    lagBytes: 77,
    deliveredLsn: 0,
    ackedLsn: 0,
    epoch: 1,
  };
}

/** A readiness whose clock stands still until the test moves it. */
function readinessAt(options: ReadinessOptions = {}) {
  const clock = { ms: 1000 };
  const readiness = new Readiness({ now: () => clock.ms, ...options });
  const codes = (): string[] => readiness.report.reasons.map(({ code }) => code);
  return { readiness, codes, pass: (ms: number) => void (clock.ms += ms) };
}

function streaming(options: ReadinessOptions = {}) {
  const it = readinessAt(options);
  it.readiness.streaming();
  it.readiness.clickhouseAnswered();
  return it;
}

test('Readiness is ready once it is attached and ClickHouse has answered', () => {
  const { readiness, codes } = readinessAt();
  expect(readiness.report).toMatchObject({ ready: false, state: 'starting' });
  expect(codes()).toEqual(['OUTBOX_FLOW_STARTING']);
  readiness.streaming();
  expect(codes()).toEqual(['OUTBOX_FLOW_STARTING']);
  readiness.clickhouseAnswered();
  expect(readiness.report).toEqual({ ready: true, state: 'streaming', reasons: [] });
});

test('Readiness gives the error that ended a session as its reason until the next session is attached', () => {
  const { readiness, codes } = streaming();
  readiness.slotSeen(SLOT);
  readiness.notStreaming(new OutboxError('OUTBOX_SLOT_INVALID', { detail: 'it is invalidated (wal_removed)' }));
  expect(readiness.report).toEqual({
    ready: false,
    state: 'not streaming',
    reasons: [{ code: 'OUTBOX_SLOT_INVALID', detail: 'it is invalidated (wal_removed)' }],
  });
  readiness.streaming();
  readiness.clickhouseAnswered();
  expect(codes()).toEqual([]);
});

test('Readiness names the tables of its own outbox', () => {
  const { readiness } = streaming({ schema: 'audit' });
  readiness.notStreaming(new OutboxError('OUTBOX_DETACHED'));
  expect(readiness.report.reasons).toMatchObject([{ detail: expect.stringContaining('audit.event') }]);
});

test('Readiness keeps the slot’s health while failing sessions check the slot, and no longer', () => {
  const { readiness, codes } = streaming();
  const fail = (): void => readiness.notStreaming(new OutboxError('OUTBOX_PG_PRIVILEGE'));
  const endangered = { ...SLOT, endangered: true };
  readiness.slotSeen(endangered);
  fail();
  expect(readiness.report).toMatchObject({ state: 'not streaming', slot: endangered });
  readiness.slotSeen(endangered);
  fail();
  expect(readiness.report).toMatchObject({ slot: endangered });
  expect(codes()).toEqual(['OUTBOX_PG_PRIVILEGE']);
  fail();
  expect(readiness.report).not.toHaveProperty('slot');
});

test('Readiness forgets the answer that ClickHouse gave to an earlier session', () => {
  const { readiness, codes } = streaming();
  readiness.notStreaming(new OutboxError('OUTBOX_PG_UNREACHABLE'));
  readiness.streaming();
  expect(codes()).toEqual(['OUTBOX_FLOW_STARTING']);
  expect(readiness.isClickHouseWritable).toBeUndefined();
});

test('Readiness reports an error without a code as OUTBOX_FLOW_FAILED, and none of its words', () => {
  const { readiness } = streaming();
  readiness.notStreaming(new TypeError('canary'));
  expect(readiness.report.reasons).toMatchObject([{ code: 'OUTBOX_FLOW_FAILED' }]);
  expect(JSON.stringify(readiness.report)).not.toContain('canary');
});

test('Readiness calls Postgres unreachable after five seconds of silence, for a holder and for a standby', () => {
  for (const stand of ['streaming', 'standingBy'] as const) {
    const { readiness, codes, pass } = streaming();
    readiness[stand]();
    readiness.clickhouseAnswered();
    pass(5000);
    expect(codes()).toEqual([]);
    pass(1000);
    expect(codes()).toEqual(['OUTBOX_PG_UNREACHABLE']);
    if (stand === 'streaming') readiness.slotSeen(SLOT);
    else readiness.standingBy();
    expect(codes()).toEqual([]);
  }
});

test('Readiness calls events stalled while an insert has had no answer for 15 seconds', () => {
  const { readiness, codes, pass } = streaming();
  readiness.insertBegan();
  for (let s = 0; s < 15; s++) {
    pass(1000);
    readiness.slotSeen(SLOT);
  }
  expect(codes()).toEqual([]);
  pass(1000);
  expect(codes()).toEqual(['OUTBOX_FLOW_STALLED']);
  readiness.insertEnded();
  expect(codes()).toEqual([]);
});

test('Readiness gives one reason when the probe and an insert meet the same error', () => {
  const { readiness, codes } = streaming();
  readiness.clickhouseFailed('OUTBOX_CH_UNREACHABLE');
  readiness.clickhouseProbed({ code: 'OUTBOX_CH_UNREACHABLE', detail: 'no answer' });
  expect(codes()).toEqual(['OUTBOX_CH_UNREACHABLE']);
  readiness.clickhouseProbed(undefined);
  expect(codes()).toEqual(['OUTBOX_CH_UNREACHABLE']);
  readiness.clickhouseAnswered();
  expect(codes()).toEqual([]);
});

test('Readiness of a standby depends on the probe of ClickHouse alone', () => {
  const { readiness, codes } = readinessAt();
  readiness.clickhouseFailed('OUTBOX_CH_ROW_REFUSED');
  readiness.standingBy();
  expect(readiness.report).toMatchObject({ ready: true, state: 'standing by' });
  readiness.clickhouseProbed({ code: 'OUTBOX_CH_AUTH', detail: 'refused' });
  expect(codes()).toEqual(['OUTBOX_CH_AUTH']);
});

test('Readiness calls events late when the oldest is older than the limit, and never without a limit', () => {
  const limited = streaming({ maxLagMs: 60_000 });
  limited.readiness.measures.attached(() => progressOf(59));
  expect(limited.codes()).toEqual([]);
  limited.readiness.measures.attached(() => progressOf(61));
  expect(limited.codes()).toEqual(['OUTBOX_FLOW_LATE']);
  expect(limited.readiness.report.lag).toMatchObject({ bytes: 77 });
  const unlimited = streaming();
  unlimited.readiness.measures.attached(() => progressOf(1e9));
  expect(unlimited.codes()).toEqual([]);
});

test('Readiness reports the lag of a slot that another process streams in bytes alone', () => {
  const { readiness, codes } = streaming({ maxLagMs: 60_000 });
  readiness.measures.attached(() => progressOf(61));
  readiness.measures.detached();
  readiness.standingBy();
  expect(readiness.report).not.toHaveProperty('lag');
  readiness.measures.slot = { ...SLOT, retainedBytes: 9, unconfirmedBytes: 5 };
  expect(readiness.report.lag).toEqual({ bytes: 5, seconds: undefined });
  expect(codes()).toEqual([]);
});
