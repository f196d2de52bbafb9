import { expect, test } from 'vitest';
import { readConfig } from './config.ts';
import { problems, REQUIRED } from './config.fixture.ts';

test.for<[string, string]>([
  ['ssl_mode=require', 'perhaps meant to be sslmode'],
  ['SSLMODE=require', 'perhaps meant to be sslmode'],
  ['requiressl=1', 'has a parameter that is not known'],
  ['ssl=true', 'has a parameter that is not known'],
  ['sslmode=verify-full&sslmode=disable', 'has the parameter sslmode more than once'],
  ['sslmode=prefer', 'has an sslmode that is none of disable, require, verify-ca, verify-full, no-verify'],
  ['sslmode=verify-ca', 'has sslmode=verify-ca without an sslrootcert'],
  ['channel_binding=always', 'has a channel_binding that is none of disable, prefer, require'],
  ['sslmode=require&sslrootcert=system', 'has an sslmode that does not go with sslrootcert=system'],
  ['connect_timeout=soon', 'has a connect_timeout that is no whole number of seconds'],
  ['target_session_attrs=master', 'has a target_session_attrs that is none of any, read-write, primary'],
  ['target_session_attrs=standby', 'has a target_session_attrs that may lead to a standby'],
  ['target_session_attrs=prefer-standby', 'has a target_session_attrs that may lead to a standby'],
  ['target_session_attrs=read-only', 'has a target_session_attrs that may lead to a standby'],
  ['port=1,2', 'has 2 ports for 1 host'],
])('readConfig refuses a DATABASE_URL with %s, and does not repeat what it holds', ([query, problem]) => {
  const [found, ...more] = problems({
    DATABASE_URL: `postgres://u:p@db.internal/app?${query}&application_name=canary`,
  });
  expect(found).toContain(`DATABASE_URL ${problem.startsWith('perhaps') ? 'has' : problem}`);
  expect(found).toContain(problem);
  expect(found).not.toContain('canary');
  expect(more).toEqual([]);
});

test('readConfig refuses variables of libpq that ask for TLS, which it does not read, all at once', () => {
  const DATABASE_URL = 'postgres://u:p@db.internal/app?channel_binding=require';
  const env = { PGSSLMODE: 'canary', PGSSLCRL: '/canary', PGCHANNELBINDING: 'disable', PGPASSWORD: 'p', PGSSLKEY: '' };
  expect(problems({ ...env, DATABASE_URL, LOG_LEVEL: 'loud' })).toEqual([
    expect.stringContaining('LOG_LEVEL'),
    'PGSSLCRL is not read, and has no equal here: unset it',
    'PGSSLMODE is not read: give sslmode as a parameter of DATABASE_URL, or unset it',
  ]);
});

test('readConfig takes the parameters of libpq', () => {
  const DATABASE_URL =
    'postgres://u:p@db.internal/app?sslmode=verify-full&channel_binding=require&target_session_attrs=read-write&connect_timeout=5&keepalives=1&sslrootcert=system';
  expect(readConfig({ ...REQUIRED, DATABASE_URL }).databaseUrl).toBe(DATABASE_URL);
});

test('readConfig takes URLs without a user, and of ClickHouse without a database, as their own clients do', () => {
  const given = { DATABASE_URL: 'postgres://localhost/app', CLICKHOUSE_URL: 'http://localhost:8123' };
  expect(readConfig(given)).toMatchObject({
    databaseUrl: 'postgres://localhost/app',
    clickhouseUrl: 'http://default@localhost:8123/default',
  });
});

test.for([
  'postgres://u:p@a.internal,b.internal:5433,[::1]:5434/app?target_session_attrs=read-write',
  'postgres://u:p@/app?host=a.internal,b.internal&port=5433',
])('readConfig takes several hosts: %s', (DATABASE_URL) => {
  expect(readConfig({ ...REQUIRED, DATABASE_URL }).databaseUrl).toBe(DATABASE_URL);
});

test.for(['postgres://u:p@a.internal,,b.internal/app', 'postgres://u:p@a.internal,/app', 'postgres://u:p@/app?host='])(
  'readConfig misses a host in %s',
  (DATABASE_URL) => {
    expect(problems({ DATABASE_URL })).toEqual([expect.stringContaining('the host is missing')]);
  },
);

test.for([
  ['http://[::1]:8123,[2001:db8::2]:8123', 'http://default@[::1]:8123,[2001:db8::2]:8123/default'],
  ['http://writer@[::1]:8123,b.internal/events', 'http://writer@[::1]:8123,b.internal/events'],
] as const)('readConfig takes several hosts of ClickHouse by their addresses: %s', ([CLICKHOUSE_URL, read]) => {
  expect(readConfig({ ...REQUIRED, CLICKHOUSE_URL }).clickhouseUrl).toBe(read);
});
