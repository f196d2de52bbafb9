import { expect, test, vi } from 'vitest';
import { Measures, type Progress } from './measures.ts';

const PROGRESS: Progress = {
  bufferedEvents: 5,
  bufferedBytes: 500,
  oldestSeconds: 1000,
  lagBytes: 77,
  deliveredLsn: 10,
  ackedLsn: 8,
  epoch: 3,
};

test('Measures asks the attachment for its progress at each reading, and forgets it when the attachment ends', () => {
  const measures = new Measures();
  expect(measures.progress).toBeUndefined();
  measures.detached();
  expect(measures.progress).toBeUndefined();
  let lagBytes = 77;
  measures.attached(() => ({ ...PROGRESS, lagBytes }));
  lagBytes = 78;
  expect(measures.progress).toEqual({ ...PROGRESS, lagBytes: 78 });
  measures.detached();
  expect(measures.progress).toBeUndefined();
  measures.attached(() => PROGRESS);
  expect(measures.progress).toEqual(PROGRESS);
});

test('Measures counts the time of a full buffer once, and stops when the attachment ends', () => {
  vi.useFakeTimers({ toFake: ['performance'] });
  try {
    const measures = new Measures();
    measures.paused('buffer full');
    vi.advanceTimersByTime(2000);
    measures.paused('buffer full');
    expect(measures.fullSeconds).toBe(2);
    measures.resumed('resting');
    vi.advanceTimersByTime(1000);
    measures.resumed('buffer full');
    vi.advanceTimersByTime(1000);
    expect(measures.fullSeconds).toBe(3);
    measures.paused('buffer full');
    vi.advanceTimersByTime(500);
    measures.detached();
    vi.advanceTimersByTime(500);
    expect(measures.fullSeconds).toBe(3.5);
    expect(measures.pauses).toEqual({ resting: 0, 'buffer full': 3, draining: 0 });
  } finally {
    vi.useRealTimers();
  }
});

test('Measures has no size of the quarantine until it is counted, then adds to it until the attachment ends', () => {
  const measures = new Measures();
  measures.quarantinedOne();
  expect(measures.quarantined).toBeUndefined();
  measures.quarantined = 3;
  measures.parts = 4;
  measures.quarantinedOne();
  expect(measures).toMatchObject({ quarantined: 4, events: { quarantined: 2 } });
  measures.detached();
  expect(measures).toMatchObject({ quarantined: undefined, parts: undefined, events: { quarantined: 2 } });
});

test('Measures counts retries and failed sessions by their codes', () => {
  const measures = new Measures();
  measures.retried('OUTBOX_CH_UNREACHABLE');
  measures.retried('OUTBOX_CH_UNREACHABLE');
  measures.sessionFailed('OUTBOX_PG_UNREACHABLE');
  measures.sessionFailed(undefined);
  expect([...measures.retries]).toEqual([['OUTBOX_CH_UNREACHABLE', 2]]);
  expect([...measures.failures]).toEqual([
    ['OUTBOX_PG_UNREACHABLE', 1],
    [undefined, 1],
  ]);
});
