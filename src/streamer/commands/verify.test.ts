import { afterEach, expect, test, vi } from 'vitest';
import { verifyCommand } from './verify.ts';

afterEach(() => void vi.restoreAllMocks());

/** The exit code, and what was written. */
async function verify(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const written = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const)
    vi.spyOn(process[name], 'write').mockImplementation((text) => {
      written[name] += String(text);
      return true;
    });
  return { code: await verifyCommand(args, {}), ...written };
}

test('verify names every problem with its options at once', async () => {
  const { code, stderr } = await verify('--from', 'x', '--to', '1850-01-01', '--wait', '2d', '--limit', '1e3');
  expect(code).toBe(2);
  expect(stderr.split('\n').slice(0, 5)).toEqual([
    '--from must be an ISO time or a duration such as 24h',
    '--to must lie between 1900 and 2299',
    '--wait must be a duration such as 60s, of a day at most',
    '--limit must be a whole number up to 100000',
    '',
  ]);
});

test.each([
  [['--form', '1h']],
  [['--from']],
  [['1h']],
  [['--from', '1h', '--to', '1h']],
  [['--from', '1h', '--to', '2h']],
])('verify rejects %s as wrong usage', async (args) => {
  const { code, stderr } = await verify(...args);
  expect(code).toBe(2);
  expect(stderr).toContain('Usage: pg-outbox-clickhouse verify');
});

test('verify --help prints its usage and succeeds', async () => {
  const { code, stdout } = await verify('--help');
  expect(code).toBe(0);
  expect(stdout).toContain('Usage: pg-outbox-clickhouse verify');
});
