import { expect, test } from 'vitest';
import { isLoopback } from './loopback.ts';

test.each([
  'localhost',
  '127.0.0.1',
  '127.1.2.3',
  '::1',
  '[::1]',
  '0:0:0:0:0:0:0:1',
  '::ffff:127.0.0.1',
  '[::ffff:7f00:1]',
])('isLoopback knows %s as this host', (host) => {
  expect(isLoopback(host)).toBe(true);
});

test.each([
  '',
  '*',
  '10.0.0.1',
  '0.0.0.0',
  '::',
  '::2',
  '::ffff:10.0.0.1',
  '127.0.0.1.evil.example',
  'localhost.evil.example',
])('isLoopback takes %s for another host', (host) => {
  expect(isLoopback(host)).toBe(false);
});
