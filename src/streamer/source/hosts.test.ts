import { expect, test } from 'vitest';
import { OutboxError, type ErrorCode } from '../../errors.ts';
import { connectToFirst, databaseUrlOf, formatHost, readDatabaseUrl, type Host } from './hosts.ts';

// https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS
test.for<[string, string[]]>([
  ['postgres://h/db', ['h']],
  ['postgresql://u:p@h:5433/db', ['h:5433']],
  ['postgres://u:a,b@h1:1,h2:2/db', ['h1:1', 'h2:2']],
  ['postgres://u:p@h1,h2:2,h3/db', ['h1', 'h2:2', 'h3']],
  ['postgres://[2001:db8::1]:1,[::1],127.0.0.1/db', ['[2001:db8::1]:1', '[::1]', '127.0.0.1']],
  ['postgres://%2Frun%2Fpostgresql,h/db', ['/run/postgresql', 'h']],
  ['postgres://h1,h2/db?port=5433', ['h1:5433', 'h2:5433']],
  ['postgres://h1:1,h2:2/db?port=3,', ['h1:3', 'h2']],
  ['postgres:///db?host=h1,::1&port=1,2', ['h1:1', '[::1]:2']],
  ['postgres://u:p@h/db?host=/run/postgresql', ['/run/postgresql']],
  ['postgres://u@corp:p@h1,h2/db', ['h1', 'h2']],
])('databaseUrlOf reads of %s the hosts %s', ([url, hosts]) => {
  expect(databaseUrlOf(url).hosts.map(formatHost)).toEqual(hosts);
});

test('databaseUrlOf keeps all but the hosts', () => {
  const { url, list } = databaseUrlOf('postgres://u:p%40@h1:1,h2:2/db?application_name=a');
  expect(url.href).toBe('postgres://u:p%40@localhost/db?application_name=a');
  expect(list).toBe('h1:1,h2:2');
});

test.for(['h1,h2', 'postgres://h1:1:2,h2/db', 'postgres://h:65536/db', 'postgres://h1,h 2/db'])(
  'readDatabaseUrl takes %s for no URL',
  (text) => {
    expect(readDatabaseUrl(text)).toBeUndefined();
  },
);

test.for([
  ['postgres://h1,h2/db?port=1,2,3', 'has 3 ports for 2 hosts'],
  ['postgres://h1/db?port=1,2', 'has 2 ports for 1 host'],
  ['postgres://h1/db?port=65536', 'has a port that is none'],
  ['postgres://h1/db?port=x', 'has a port that is none'],
])('readDatabaseUrl says of %s that it %s', ([text, fault]) => {
  expect(readDatabaseUrl(text!)).toBe(fault);
});

const HOSTS: Host[] = ['a', 'b', 'c'].map((name) => ({ name, port: '' }));

/** Connects to hosts of which some throw. */
function reach(answers: Record<string, ErrorCode>): { tried: string[]; connected: Promise<string> } {
  const tried: string[] = [];
  const connected = connectToFirst(HOSTS, async ({ name }) => {
    tried.push(name);
    const code = answers[name];
    if (code !== undefined) throw new OutboxError(code, { detail: code.toLowerCase() });
    return Promise.resolve(name);
  });
  return { tried, connected };
}

test('connectToFirst passes over what is away or a standby', async () => {
  const { tried, connected } = reach({ a: 'OUTBOX_PG_UNREACHABLE', b: 'OUTBOX_PG_STANDBY' });
  expect(await connected).toBe('c');
  expect(tried).toEqual(['a', 'b', 'c']);
});

test('connectToFirst ends at a host that refuses the login, and names it', async () => {
  const { tried, connected } = reach({ a: 'OUTBOX_PG_UNREACHABLE', b: 'OUTBOX_PG_AUTH' });
  await expect(connected).rejects.toMatchObject({ code: 'OUTBOX_PG_AUTH', message: 'b: outbox_pg_auth' });
  expect(tried).toEqual(['a', 'b']);
});

test.for<[ErrorCode, ErrorCode]>([
  ['OUTBOX_PG_UNREACHABLE', 'OUTBOX_PG_UNREACHABLE'],
  ['OUTBOX_PG_STANDBY', 'OUTBOX_PG_STANDBY'],
])('connectToFirst names every host and its fault, and throws %s where none fits', async ([last, thrown]) => {
  const { connected } = reach({ a: 'OUTBOX_PG_STANDBY', b: 'OUTBOX_PG_STANDBY', c: last });
  const problems = ['a: outbox_pg_standby', 'b: outbox_pg_standby', `c: ${last.toLowerCase()}`];
  await expect(connected).rejects.toMatchObject({ code: thrown, problems });
});
