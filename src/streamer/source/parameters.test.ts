import { expect, test } from 'vitest';
import { connectTimeoutMs, securityOf, wantsPrimary } from './parameters.ts';

const of = (query: string) => {
  const { ssl, isVerified } = securityOf(new URLSearchParams(query));
  return { isVerified, ssl: ssl && { verifies: ssl.rejectUnauthorized, names: ssl.checkServerIdentity === undefined } };
};

// https://www.postgresql.org/docs/current/libpq-ssl.html#LIBPQ-SSL-SSLMODE-STATEMENTS
test.for<[string, object]>([
  ['', { isVerified: false, ssl: false }],
  ['sslmode=disable', { isVerified: false, ssl: false }],
  ['sslmode=require', { isVerified: false, ssl: { verifies: false, names: false } }],
  ['sslmode=no-verify', { isVerified: false, ssl: { verifies: false, names: false } }],
  ['sslmode=require&sslrootcert=package.json', { isVerified: false, ssl: { verifies: true, names: false } }],
  ['sslmode=verify-ca&sslrootcert=package.json', { isVerified: false, ssl: { verifies: true, names: false } }],
  ['sslmode=verify-full', { isVerified: true, ssl: { verifies: true, names: true } }],
  ['sslmode=verify-full&sslrootcert=system', { isVerified: true, ssl: { verifies: true, names: true } }],
  ['sslmode=no-verify&sslrootcert=system', { isVerified: true, ssl: { verifies: true, names: true } }],
  ['sslrootcert=system', { isVerified: true, ssl: { verifies: true, names: true } }],
  ['sslrootcert=package.json', { isVerified: true, ssl: { verifies: true, names: true } }],
])('securityOf means by "%s" what libpq means', ([query, expected]) => {
  expect(of(query)).toEqual(expected);
});

test('securityOf takes no file without a certificate for an authority, which would be those of Node.js', () => {
  expect(() => of('sslmode=verify-ca&sslrootcert=/dev/null')).toThrow('the file is empty');
});

test.for<[string, number, boolean]>([
  ['', 1, false],
  ['', 2, true],
  ['target_session_attrs=any', 2, false],
  ['target_session_attrs=primary', 1, true],
  ['target_session_attrs=read-write', 1, true],
])('wantsPrimary with "%s" and %d hosts is %s', ([query, hosts, expected]) => {
  expect(wantsPrimary(new URLSearchParams(query), hosts)).toBe(expected);
});

test('connectTimeoutMs takes seconds; without any, or with 0, it is ten', () => {
  const ms = (query: string): number => connectTimeoutMs(new URLSearchParams(query));
  expect([ms('connect_timeout=3'), ms('connect_timeout=0'), ms('')]).toEqual([3000, 10_000, 10_000]);
});
