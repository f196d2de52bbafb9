import { expect, test } from 'vitest';
import { canDecode } from './server.ts';

test.each([
  ['logical', undefined, true],
  ['replica', undefined, false],
  ['minimal', undefined, false],
  // Postgres 19, before its first logical slot and after it
  ['replica', 'replica', true],
  ['replica', 'logical', true],
  ['logical', 'logical', true],
  ['minimal', 'minimal', false],
])('canDecode of wal_level %s and effective_wal_level %s: %s', (level, effective, can) => {
  expect(canDecode(level, effective)).toBe(can);
});
