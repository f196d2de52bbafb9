import { expect, test } from 'vitest';
import { PauseLock } from './pause-lock.ts';

function lockWith(onResumed: () => void = () => undefined) {
  const calls: string[] = [];
  const lock = new PauseLock<'a' | 'b'>({
    onPaused: () => void calls.push('paused'),
    onResumed: () => {
      calls.push('resumed');
      onResumed();
    },
    onHeld: (reason) => void calls.push(`held ${reason}`),
    onReleased: (reason) => void calls.push(`released ${reason}`),
  });
  return { lock, calls };
}

test('PauseLock pauses with the first reason and resumes when the last is released', () => {
  const { lock, calls } = lockWith();
  lock.hold('a');
  lock.hold('b');
  lock.release('a');
  expect(lock.isPaused).toBe(true);
  lock.release('b');
  expect(lock.isPaused).toBe(false);
  expect(calls).toEqual(['held a', 'paused', 'held b', 'released a', 'released b', 'resumed']);
});

test('PauseLock counts a reason once, and ignores the release of one that is not held', () => {
  const { lock, calls } = lockWith();
  lock.release('a');
  lock.hold('a');
  lock.hold('a');
  lock.release('b');
  lock.release('a');
  lock.release('a');
  expect(calls).toEqual(['held a', 'paused', 'released a', 'resumed']);
});

test('PauseLock stays paused when onResumed holds it again', () => {
  let isFirst = true;
  const { lock } = lockWith(() => {
    if (isFirst) lock.hold('b');
    isFirst = false;
  });
  lock.hold('a');
  lock.release('a');
  expect(lock.isPaused).toBe(true);
  lock.releaseAll();
  expect(lock.isPaused).toBe(false);
});
