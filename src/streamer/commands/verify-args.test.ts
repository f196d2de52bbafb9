import { expect, test } from 'vitest';
import { parseVerifyArgs } from './verify-args.ts';

const NOW = Date.UTC(2024, 1, 29);

test('defaults: everything, a minute of patience', () => {
  const window = { from: undefined, to: undefined };
  expect(parseVerifyArgs([], NOW)).toEqual({ window, waitMs: 60_000, limit: 20, json: false });
});

test('all options', () => {
  const args = ['--from', '24h', '--to=2024-02-29', '--wait', '0', '--limit', '5', '--json'];
  const to = BigInt(NOW) * 1000n;
  const window = { from: to - 86_400_000_000n, to };
  expect(parseVerifyArgs(args, NOW)).toEqual({ window, waitMs: 0, limit: 5, json: true });
});

test('every problem at once', () => {
  expect(parseVerifyArgs(['--from', 'x', '--to', '1850-01-01', '--wait', '2d', '--limit', '1e3'], NOW)).toEqual({
    problems: [
      '--from must be an ISO time or a duration such as 24h',
      '--to must lie between 1900 and 2299',
      '--wait must be a duration such as 60s, of a day at most',
      '--limit must be a whole number up to 100000',
    ],
  });
});

test.each([
  [['--form', '1h']],
  [['--from']],
  [['1h']],
  [['--from', '1h', '--to', '1h']],
  [['--from', '1h', '--to', '2h']],
])('wrong usage: %s', (args) => {
  expect(parseVerifyArgs(args, NOW)).toEqual({ problems: [expect.any(String)] });
});

test('help', () => {
  expect(parseVerifyArgs(['--help'], NOW)).toBe('help');
});
