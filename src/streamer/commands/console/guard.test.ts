import { expect, test } from 'vitest';
import { Guard, type Asked } from './guard.ts';

const TOKEN = 'a-token-of-the-tests';
const ASKED: Asked = {
  method: 'GET',
  host: '127.0.0.1:8090',
  origin: undefined,
  site: undefined,
  authorization: `Bearer ${TOKEN}`,
  address: '10.0.0.1',
};

function statusOf(guard: Guard, asked: Partial<Asked>): number {
  try {
    guard.checkReader({ ...ASKED, ...asked });
    return 200;
  } catch (error) {
    return (error as { status: number }).status;
  }
}

test('a guard on a loopback address refuses every name that is not of this host', () => {
  const guard = new Guard('127.0.0.1', '');
  const names = ['localhost:8090', '127.0.0.1', '127.9.9.9:1', '[::1]:8090'];
  expect(names.map((host) => statusOf(guard, { host }))).toEqual(names.map(() => 200));
  const others = [
    undefined,
    '',
    'evil.example',
    'localhost.evil.example',
    '127.0.0.1.evil.example',
    '10.0.0.1:8090',
    'a b',
  ];
  expect(others.map((host) => statusOf(guard, { host }))).toEqual(others.map(() => 421));
});

test('a guard lets a change pass only from its own page', () => {
  const guard = new Guard('127.0.0.1', TOKEN);
  const post = { method: 'POST', origin: 'http://127.0.0.1:8090' };
  expect(statusOf(guard, post)).toBe(200);
  expect(statusOf(guard, { ...post, site: 'same-origin' })).toBe(200);
  const foreign = [
    { method: 'POST' },
    { ...post, origin: 'http://127.0.0.1:8091' },
    { ...post, origin: 'null' },
    { ...post, site: 'cross-site' },
    { ...post, site: 'same-site' },
    { origin: 'http://evil.example' },
    { site: 'cross-site' },
  ];
  expect(foreign.map((asked) => statusOf(guard, asked))).toEqual(foreign.map(() => 403));
});

test('a guard refuses an address for a minute after ten wrong tokens, and no other', () => {
  let now = 0;
  const guard = new Guard('0.0.0.0', TOKEN, () => now);
  const wrong = { authorization: 'Bearer wrong' };
  expect(statusOf(guard, {})).toBe(200);
  expect(statusOf(guard, { authorization: undefined })).toBe(401);
  expect(statusOf(guard, { authorization: TOKEN })).toBe(401);
  for (let count = 0; count < 10; count++) expect(statusOf(guard, wrong)).toBe(401);
  expect([statusOf(guard, wrong), statusOf(guard, {})]).toEqual([429, 429]);
  expect(statusOf(guard, { address: '10.0.0.2' })).toBe(200);
  now = 60_000;
  expect(statusOf(guard, {})).toBe(200);
  // of an IPv6 network, one machine may have all addresses
  for (let count = 0; count < 10; count++) statusOf(guard, { ...wrong, address: `2001:db8:1:2::${count}` });
  expect(statusOf(guard, { address: '2001:db8:1:2:3:4:5:6' })).toBe(429);
  expect(statusOf(guard, { address: '2001:db8:1:3::1' })).toBe(200);
});

test('a guard remembers some thousand addresses, and forgets the oldest', () => {
  const guard = new Guard('0.0.0.0', TOKEN, () => 0);
  const wrong = { authorization: 'Bearer wrong' };
  for (let count = 0; count < 10; count++) statusOf(guard, wrong);
  expect(statusOf(guard, {})).toBe(429);
  for (let n = 0; n < 4096; n++) statusOf(guard, { ...wrong, address: `10.1.${n >> 8}.${n & 255}` });
  expect(statusOf(guard, {})).toBe(200);
});
