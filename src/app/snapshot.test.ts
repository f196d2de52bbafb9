import { runInNewContext } from 'node:vm';
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { Problems } from './problems.ts';
import { snapshotOf } from './snapshot.ts';

function copyOf(value: unknown, maxValues = 1000): unknown {
  const problems = new Problems();
  const copy = snapshotOf(value, 'context', maxValues, problems);
  expect(problems.list()).toEqual([]);
  return copy;
}

function problemsOf(value: unknown): string[] {
  const problems = new Problems();
  snapshotOf(value, 'context', 1000, problems);
  return problems.list();
}

test('snapshotOf copies plain data', () => {
  fc.assert(
    fc.property(fc.object({ withNullPrototype: true, withDate: true, withSparseArray: true }), (value) => {
      const copy = copyOf(value, 1e6);
      expect(JSON.stringify(copy)).toBe(JSON.stringify(value));
      expect(copy).not.toBe(value);
    }),
  );
});

test('snapshotOf gives a copy that a later change of the original does not reach', () => {
  const value = { at: new Date(0), list: [{ a: 1 }] };
  const copy = copyOf(value);
  value.at.setTime(1);
  value.list[0]!.a = 2;
  value.list.push({ a: 3 });
  expect(copy).toEqual({ at: new Date(0), list: [{ a: 1 }] });
});

test('snapshotOf keeps cycles, and copies a repeated object once', () => {
  const value: Record<string, unknown> = { same: { a: 1 } };
  value['again'] = value['same'];
  value['self'] = [value];
  const copy = copyOf(value) as Record<string, unknown>;
  expect(copy['self']).toEqual([copy]);
  expect((copy['self'] as unknown[])[0]).toBe(copy);
  expect(copy['again']).toBe(copy['same']);
  expect(copy['same']).not.toBe(value['same']);
});

test('snapshotOf does not copy class instances', () => {
  const map = new Map([['a', 1]]);
  const copy = copyOf({ a: [map, new Set()], f: copyOf, big: 1n });
  expect(copy).toEqual({ a: [map, new Set()], f: copyOf, big: 1n });
  expect((copy as { a: unknown[] }).a[0]).toBe(map);
});

test('snapshotOf does not copy a Date of a subclass or of another realm', () => {
  class Day extends Date {}
  const other = runInNewContext('new Date(0)') as Date;
  const copy = copyOf({ day: new Day(0), other }) as { day: Day; other: Date };
  expect(copy.day).toBeInstanceOf(Day);
  expect(copy.other).toBe(other);
});

test('snapshotOf copies an own __proto__ as a property, and runs each getter once', () => {
  let calls = 0;
  const value = JSON.parse('{"__proto__": {"a": 1}}') as object;
  Object.defineProperty(value, 'n', { enumerable: true, get: () => (calls += 1) });
  const copy = copyOf(value);
  expect(JSON.stringify(copy)).toBe('{"__proto__":{"a":1},"n":1}');
  expect(JSON.stringify(copy)).toBe('{"__proto__":{"a":1},"n":1}');
});

test('snapshotOf adds a problem, without a value, for what it cannot copy', () => {
  class SecretError extends Error {}
  const throwing = {
    get a(): never {
      throw new SecretError('canary');
    },
  };
  expect(problemsOf(throwing)).toEqual(['context: cannot be read: a getter or proxy threw SecretError']);
  let deep: object = {};
  for (let level = 0; level < 100; level += 1) deep = { deep };
  expect(problemsOf(deep)).toEqual([expect.stringMatching(/^context(\.deep){100}: is nested deeper than 100 levels$/)]);
  const tooMany = ['context: has too many values (OUTBOX_MAX_EVENT_BYTES)'];
  // oxlint-disable-next-line unicorn/no-new-array -- a sparse array is the case
  expect(problemsOf({ a: new Array(4_000_000_000), b: new Array(9) })).toEqual(tooMany);
});
