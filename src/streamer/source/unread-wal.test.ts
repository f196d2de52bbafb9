import { expect, test } from 'vitest';
import { UnreadWal } from './unread-wal.ts';

test('UnreadWal dates what was not read by the first sample of the end of WAL that lies beyond it', () => {
  const unread = new UnreadWal();
  expect(unread.since(0)).toBeUndefined();
  unread.sample(100, 10);
  unread.sample(100, 20);
  unread.sample(200, 30);
  expect(unread.since(50)).toBe(10);
  expect(unread.since(100)).toBe(30);
  expect(unread.since(200)).toBeUndefined();
  unread.sample(200, 40);
  expect(unread.since(200), 'nothing was written since').toBeUndefined();
});

test('UnreadWal keeps the oldest sample and a bounded number of the others while nothing is read', () => {
  const unread = new UnreadWal();
  for (let at = 0; at < 5000; at++) unread.sample(at + 1, at);
  expect(unread.since(0)).toBe(0);
  expect(unread.since(4000)).toBeGreaterThanOrEqual(4000);
  expect(unread.since(4999)).toBe(4999);
});
