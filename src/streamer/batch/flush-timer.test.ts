import { expect, test } from 'vitest';
import { FlushTimer } from './flush-timer.ts';

const INTERVAL_MS = 100;
const LINGER_MS = 5;

function timerAt({ isFirstExact = false } = {}) {
  const clock = { ms: 1000 };
  const timer = new FlushTimer({ intervalMs: INTERVAL_MS, now: () => clock.ms, isFirstExact });
  return { timer, pass: (ms: number) => void (clock.ms += ms) };
}

test('FlushTimer makes the first rows after a quiet moment due after the linger', () => {
  const { timer, pass } = timerAt();
  expect(timer.dueIn()).toBeUndefined();
  timer.began();
  expect(timer.dueIn()).toBe(LINGER_MS);
  pass(LINGER_MS);
  expect(timer.dueIn()).toBe(0);
  timer.cut();
  expect(timer.dueIn()).toBeUndefined();
  pass(INTERVAL_MS);
  timer.began();
  expect(timer.dueIn()).toBe(LINGER_MS);
});

test('FlushTimer lets an interval pass between two batches', () => {
  const { timer, pass } = timerAt();
  timer.began();
  pass(LINGER_MS);
  timer.cut();
  pass(10);
  timer.began();
  expect(timer.dueIn()).toBe(INTERVAL_MS - 10);
  pass(INTERVAL_MS - 10);
  expect(timer.dueIn()).toBe(0);
});

test('FlushTimer waits for the end of the transaction that comes first after a quiet moment, for an interval at most', () => {
  const { timer, pass } = timerAt();
  timer.opened();
  timer.began();
  expect(timer.dueIn()).toBe(INTERVAL_MS);
  pass(30);
  expect(timer.committed()).toBe(true);
  expect(timer.dueIn()).toBe(0);
  timer.opened();
  expect(timer.dueIn()).toBe(INTERVAL_MS - 30);
  timer.cut();
  timer.began();
  expect(timer.committed()).toBe(false);
});

test('FlushTimer makes a full batch due at once, as often as it is full', () => {
  const { timer } = timerAt();
  for (let batches = 0; batches < 3; batches++) {
    timer.began();
    timer.filled();
    expect(timer.isFull).toBe(true);
    expect(timer.dueIn()).toBe(0);
    timer.cut();
    expect(timer.isFull).toBe(false);
  }
});

test('FlushTimer flushes what is there when it is asked to, and nothing that comes later', () => {
  const { timer, pass } = timerAt();
  timer.began();
  timer.cut();
  timer.flushNow();
  timer.began();
  expect(timer.dueIn()).toBe(INTERVAL_MS);
  timer.flushNow();
  expect(timer.dueIn()).toBe(0);
  timer.cut();
  pass(1);
  timer.began();
  expect(timer.dueIn()).toBe(INTERVAL_MS - 1);
});

test('FlushTimer makes the rest of a backlog due at once, but only once', () => {
  const { timer } = timerAt();
  timer.began();
  expect(timer.caughtUp()).toBe(false);
  timer.filled();
  timer.cut();
  expect(timer.caughtUp()).toBe(false);
  timer.began();
  expect(timer.dueIn()).toBe(INTERVAL_MS);
  expect(timer.caughtUp()).toBe(true);
  expect(timer.dueIn()).toBe(0);
  timer.cut();
  timer.began();
  expect(timer.caughtUp()).toBe(false);
  expect(timer.dueIn()).toBe(INTERVAL_MS);
});

test('FlushTimer waits for the last row of a recorded range, whatever is asked (invariant 4)', () => {
  const { timer, pass } = timerAt({ isFirstExact: true });
  timer.began();
  timer.flushNow();
  pass(INTERVAL_MS);
  expect(timer.dueIn()).toBeUndefined();
  timer.filled();
  expect(timer.dueIn()).toBe(0);
  timer.cut();
  timer.began();
  timer.flushNow();
  expect(timer.dueIn()).toBe(0);
});
