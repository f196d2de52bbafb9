import { expect, test } from 'vitest';
import { readConfig, readConsoleConfig } from './config.ts';

const TOKEN = 'a-token-of-the-tests';

function problemsOf(env: Record<string, string>, readFile?: (path: string) => string): readonly string[] {
  try {
    readConsoleConfig(env, readFile);
    return [];
  } catch (error) {
    return (error as { problems: string[] }).problems;
  }
}

test('a console listens on a loopback address by default, without a token and without payloads', () => {
  expect(readConsoleConfig({})).toEqual({
    consoleHost: '127.0.0.1',
    consolePort: 8090,
    consoleToken: '',
    consolePayloads: 'off',
    consoleTraceUrl: '',
  });
});

test('another address than a loopback one wants a token', () => {
  const missing = (host: string): string =>
    `OUTBOX_CONSOLE_TOKEN is missing: other hosts can reach the console on the address ${host}`;
  for (const host of ['*', '0.0.0.0', '::', '192.168.1.7'])
    expect(problemsOf({ OUTBOX_CONSOLE_HOST: host })).toEqual([missing(host)]);
  for (const host of ['127.0.0.1', '127.0.0.2', '::1']) expect(problemsOf({ OUTBOX_CONSOLE_HOST: host })).toEqual([]);
  expect(problemsOf({ OUTBOX_CONSOLE_HOST: '*', OUTBOX_CONSOLE_TOKEN: TOKEN })).toEqual([]);
});

test('the token may come from a file, and no problem repeats it', () => {
  const file = { OUTBOX_CONSOLE_TOKEN_FILE: '/run/secrets/token' };
  expect(readConsoleConfig(file, () => `${TOKEN}\n`).consoleToken).toBe(TOKEN);
  expect(problemsOf({ ...file, OUTBOX_CONSOLE_TOKEN: TOKEN })).toEqual([
    'OUTBOX_CONSOLE_TOKEN and OUTBOX_CONSOLE_TOKEN_FILE are both given; keep one',
  ]);
  expect(problemsOf(file, () => '\n')).toEqual([
    'OUTBOX_CONSOLE_TOKEN is empty in the file that OUTBOX_CONSOLE_TOKEN_FILE names',
  ]);
  const [short] = problemsOf({ OUTBOX_CONSOLE_TOKEN: 'too-short' });
  expect(short).toMatch(/^OUTBOX_CONSOLE_TOKEN must be 16 to 512 of /);
  expect(short).not.toContain('too-short');
});

test('the link to traces is a URL with the place of the id', () => {
  const url = (text: string): readonly string[] => problemsOf({ OUTBOX_CONSOLE_TRACE_URL: text });
  expect(url('http://localhost:16686/trace/{trace_id}?x=1')).toEqual([]);
  for (const text of ['http://localhost', 'javascript:alert("{trace_id}")', 'https://x/{trace_id}"onclick='])
    expect(url(text)).toEqual(['OUTBOX_CONSOLE_TRACE_URL must be a URL with {trace_id} in it']);
});

test('a streamer accepts the settings of a console, and ignores them', () => {
  const urls = { DATABASE_URL: 'postgres://u:p@h:5432/d', CLICKHOUSE_URL: 'http://u:p@h:8123/d' };
  const config = readConfig({ ...urls, OUTBOX_CONSOLE_TOKEN: 'short', OUTBOX_CONSOLE_TOKEN_FILE: '/nowhere' });
  expect(config).not.toHaveProperty('consoleToken');
});
