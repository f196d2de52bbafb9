import { expect, test } from 'vitest';
import { LogThrottle } from './log-throttle.ts';

test('LogThrottle counts failures beyond the fiftieth kind as one, so that a server cannot flood the log', () => {
  const throttle = new LogThrottle(() => 0);
  const levels = Array.from({ length: 10_000 }, (_, kind) => throttle.level(`kind ${kind}`));
  expect(levels.filter((level) => level !== 'debug')).toHaveLength(51);
  expect(throttle.level('kind 0')).toBe('debug');
});

test('LogThrottle makes a failure an error once, then a warning each minute, and an error again after a success', () => {
  let now = 0;
  const throttle = new LogThrottle(() => now);
  const levels = (failure: string, seconds: number): string[] =>
    Array.from({ length: seconds }, () => {
      now += 1000;
      return throttle.level(failure);
    });
  expect(throttle.isFailing).toBe(false);
  const minutes = levels('a', 181);
  expect(minutes.filter((level) => level !== 'debug')).toEqual(['error', 'warn', 'warn', 'warn']);
  expect(minutes.findIndex((level) => level === 'warn')).toBe(60);
  expect(throttle.isFailing).toBe(true);
  // two failures that take turns are not new each time
  expect(levels('b', 2)).toEqual(['error', 'debug']);
  expect(levels('a', 2)).toEqual(['debug', 'debug']);
  expect(levels('b', 1)).toEqual(['debug']);
  throttle.reset();
  expect(throttle.isFailing).toBe(false);
  expect(levels('a', 1)).toEqual(['error']);
});
