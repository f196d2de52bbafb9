import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { parseRedactPath, REDACTED, redact as redactIn } from './redact.ts';

function redact(value: unknown, ...paths: string[]): unknown {
  redactIn(
    value,
    paths.map((path) => parseRedactPath(path)!),
  );
  return value;
}

test.for<[string, unknown, unknown]>([
  ['email', { email: 'a', b: 1 }, { email: REDACTED, b: 1 }],
  ['email', { b: 1 }, { b: 1 }],
  ['email', { email: undefined }, { email: undefined }],
  ['email', { email: null }, { email: REDACTED }],
  ['email', { email: { a: [1] } }, { email: REDACTED }],
  ['payment.card', { payment: { card: 1, cents: 2 } }, { payment: { card: REDACTED, cents: 2 } }],
  ['payment.card', { payment: 'text' }, { payment: 'text' }],
  ['payment.card', { payment: null }, { payment: null }],
  ['items[*].note', { items: [{ note: 'a', n: 1 }, { n: 2 }, 3] }, { items: [{ note: REDACTED, n: 1 }, { n: 2 }, 3] }],
  ['items.note', { items: [{ note: 'a' }, [{ note: 'b' }]] }, { items: [{ note: REDACTED }, [{ note: REDACTED }]] }],
  ['items[*]', { items: ['a', null] }, { items: [REDACTED, REDACTED] }],
  ['users[*].email', { users: { a: { email: 1 }, b: {} } }, { users: { a: { email: REDACTED }, b: {} } }],
  ['[*]', { a: 1, b: [2] }, { a: REDACTED, b: REDACTED }],
  ['["odd key"].a', { 'odd key': { a: 1 } }, { 'odd key': { a: REDACTED } }],
  ['a["b.c"]', { a: { 'b.c': 1, b: { c: 2, d: 3 } } }, { a: { 'b.c': REDACTED, b: { c: REDACTED, d: 3 } } }],
  ['payment.card', { 'payment.card': 1, 'payment.cents': 2 }, { 'payment.card': REDACTED, 'payment.cents': 2 }],
  ['payment', { 'payment.card': 1, 'payment.': 2 }, { 'payment.card': REDACTED, 'payment.': REDACTED }],
  [
    'a.b.c.d',
    { a: { 'b.c': { d: 1, e: 2 } }, 'a.b': { 'c.d': 3 } },
    { a: { 'b.c': { d: REDACTED, e: 2 } }, 'a.b': { 'c.d': REDACTED } },
  ],
  [
    'items[*].note',
    { items: { 'x.note': 1, 'x.y.note': 2, 'x.y': { note: 3, n: 4 } } },
    { items: { 'x.note': REDACTED, 'x.y.note': REDACTED, 'x.y': { note: REDACTED, n: 4 } } },
  ],
  [
    'items[*].note',
    { 'items.x.note': 1, 'items.note': 2, 'items.x': [{ note: 3 }] },
    { 'items.x.note': REDACTED, 'items.note': 2, 'items.x': [{ note: REDACTED }] },
  ],
  ['a.b[*].c', { 'a.b': [{ c: 1, 'c.d': 2, d: 3 }] }, { 'a.b': [{ c: REDACTED, 'c.d': REDACTED, d: 3 }] }],
  ['a["\\"\\u00fc"]', { a: { '"ü': 1 } }, { a: { '"ü': REDACTED } }],
  ['prénom-2', { 'prénom-2': 1 }, { 'prénom-2': REDACTED }],
  ['toString', { a: 1 }, { a: 1 }],
])('redact applies the path %s to %j', ([path, value, expected]) => {
  expect(redact(value, path)).toStrictEqual(expected);
});

test('redact replaces an own __proto__, and values inside it', () => {
  const shown = (path: string): string => JSON.stringify(redact(JSON.parse('{"__proto__": {"a": 1}, "b": 2}'), path));
  expect(shown('__proto__')).toBe('{"__proto__":"[redacted]","b":2}');
  expect(shown('__proto__.a')).toBe('{"__proto__":{"a":"[redacted]"},"b":2}');
  expect(shown('[*].a')).toBe('{"__proto__":{"a":"[redacted]"},"b":2}');
});

test('redact does not add a property that is not enumerable', () => {
  const value = Object.defineProperty({ b: 1 }, 'a', { value: 'hidden' });
  expect(JSON.stringify(redact(value, 'a', '[*]'))).toBe('{"b":"[redacted]"}');
});

test('redact applies several paths, also one within another', () => {
  expect(redact({ a: { b: 1 }, c: 2 }, 'a.b', 'a', 'c', 'a.b')).toEqual({ a: REDACTED, c: REDACTED });
});

test.for([
  '',
  '.',
  'a.',
  '.a',
  'a..b',
  'a b',
  'a[',
  'a[]',
  'a[0]',
  'a["0"]',
  '["10"].b',
  'a[**]',
  'a[b]',
  'a.*',
  '*',
  'a["b]',
  'a[""]',
  'a["\\x"]',
  '0',
  ' a',
  'a\n',
  '$.[*]',
  'a[*]b',
  1,
  null,
  ['a'],
])('parseRedactPath gives undefined for %j', (text) => {
  expect(parseRedactPath(text)).toBeUndefined();
});

test('redact removes the value at a path of names, whatever the value', () => {
  fc.assert(
    fc.property(fc.dictionary(fc.string(), fc.jsonValue()), fc.string({ minLength: 1 }), (value, key) => {
      fc.pre(!/^\d+$/.test(key));
      const canary = { 'canary-2b': 1 };
      const path = `a[${JSON.stringify(key)}]`;
      const plain = { ...value, a: [{ ...value, [key]: canary }] };
      expect(JSON.stringify(redact(plain, path))).not.toContain('canary-2b');
    }),
  );
});
