import { runInNewContext } from 'node:vm';
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { Problems } from './problems.ts';
import { type Snapshot, snapshotOf } from './snapshot.ts';

function take(value: unknown, maxValues = 1000): { snapshot: Snapshot | undefined; problems: string[] } {
  const problems = new Problems();
  return { snapshot: snapshotOf(value, 'context', maxValues, problems), problems: problems.list() };
}

test('plain data is copied, and nothing of it is shared', () => {
  fc.assert(
    fc.property(fc.object({ withNullPrototype: true, withDate: true, withSparseArray: true }), (value) => {
      const copy = take(value, 1e6).snapshot!;
      expect(copy.shared).toBeUndefined();
      expect(JSON.stringify(copy.value)).toBe(JSON.stringify(value));
      expect(copy.value).not.toBe(value);
    }),
  );
});

test('what the caller changes later is not seen', () => {
  const value = { at: new Date(0), list: [{ a: 1 }] };
  const { snapshot } = take(value);
  value.at.setTime(1);
  value.list[0]!.a = 2;
  value.list.push({ a: 3 });
  expect(snapshot!.value).toEqual({ at: new Date(0), list: [{ a: 1 }] });
});

test('a cycle stays one, and what is there twice is copied once', () => {
  const value: Record<string, unknown> = { same: { a: 1 } };
  value['again'] = value['same'];
  value['self'] = [value];
  const copy = take(value).snapshot!.value as Record<string, unknown>;
  expect(copy['self']).toEqual([copy]);
  expect((copy['self'] as unknown[])[0]).toBe(copy);
  expect(copy['again']).toBe(copy['same']);
  expect(copy['same']).not.toBe(value['same']);
});

test('class instances stay what they are, and the first is named', () => {
  const map = new Map([['a', 1]]);
  const { snapshot } = take({ a: [map, new Set()], f: take, big: 1n });
  expect(snapshot!.value).toEqual({ a: [map, new Set()], f: take, big: 1n });
  expect((snapshot!.value as { a: unknown[] }).a[0]).toBe(map);
  expect(snapshot!.shared).toEqual({ path: 'context.a[0]', className: 'Map' });
});

test('Dates of a class of their own, or of another realm, are not copied', () => {
  class Day extends Date {}
  const other = runInNewContext('new Date(0)') as Date;
  const { snapshot } = take({ day: new Day(0), other });
  expect((snapshot!.value as { day: Day }).day).toBeInstanceOf(Day);
  expect((snapshot!.value as { other: Date }).other).toBe(other);
  expect(snapshot!.shared?.path).toBe('context.day');
});

test('an own __proto__ is a property, and getters become values', () => {
  let calls = 0;
  const value = JSON.parse('{"__proto__": {"a": 1}}') as object;
  Object.defineProperty(value, 'n', { enumerable: true, get: () => (calls += 1) });
  const copy = take(value).snapshot!.value;
  expect(JSON.stringify(copy)).toBe('{"__proto__":{"a":1},"n":1}');
  expect(JSON.stringify(copy)).toBe('{"__proto__":{"a":1},"n":1}');
});

test('what cannot be copied is a problem, without its value', () => {
  class SecretError extends Error {}
  const throwing = {
    get a(): never {
      throw new SecretError('canary');
    },
  };
  expect(take(throwing)).toEqual({
    snapshot: undefined,
    problems: ['context: cannot be read: a getter or proxy threw SecretError'],
  });
  let deep: object = {};
  for (let level = 0; level < 100; level += 1) deep = { deep };
  expect(take(deep).problems).toEqual([
    expect.stringMatching(/^context(\.deep){100}: is nested deeper than 100 levels$/),
  ]);
  const tooMany = ['context: has too many values (OUTBOX_MAX_EVENT_BYTES)'];
  // oxlint-disable-next-line unicorn/no-new-array -- a sparse array is the case
  expect(take({ a: new Array(4_000_000_000), b: new Array(9) }).problems).toEqual(tooMany);
});
