import { expect, test } from 'vitest';
import { securityOf } from './parameters.ts';

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
  ['sslrootcert=package.json', { isVerified: true, ssl: { verifies: true, names: true } }],
])('securityOf means by "%s" what libpq means', ([query, expected]) => {
  expect(of(query)).toEqual(expected);
});
