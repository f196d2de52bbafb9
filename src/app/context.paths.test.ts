import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { OutboxError } from '../errors.ts';
import { serialiseContext } from './context.ts';
import { Problems } from './problems.ts';

describe('serialiseContext keeps a context that ClickHouse’s JSON type can hold', () => {
  test('it writes U+FFFD for a lone surrogate, in texts and in keys', () => {
    const context = { a: 'x\ud800', b: ['\udfff\ud800'], '\ud800': '😀' };
    expect(serialiseContext(context, 'context', 1000, new Problems())?.text).toBe(
      '{"a":"x\ufffd","b":["\ufffd\ufffd"],"\ufffd":"😀"}',
    );
  });

  test.each([
    [{ 'a.b': 1, a: { b: 2 } }, 'context: has two properties of the path a.b'],
    [{ a: { 'b.c': 1, b: { c: [] } } }, 'context: has two properties of the path a.b.c'],
    [{ list: [{ 'x.y': 1, x: { y: 2 } }] }, 'context: has two properties of the path list[].x.y'],
    [{ '\ud800': 1, '\ud801': 2 }, 'stands for two properties that differ in lone surrogates alone'],
  ])('it refuses %j', (context, problem) => {
    const problems = new Problems();
    expect(serialiseContext(context, 'context', 1000, problems)).toBeUndefined();
    expect(problems.list()).toEqual([expect.stringContaining(problem)]);
  });

  test('it refuses a context if and only if two of its paths, with dots between their keys, are one', () => {
    const pathsOf = (value: unknown, path = ''): string[] =>
      typeof value === 'object' && value !== null && !Array.isArray(value)
        ? Object.entries(value).flatMap(([key, inner]) => pathsOf(inner, `${path}.${key}`))
        : [path];
    const key = fc.constantFrom('', '.', 'a', 'b', 'a.b', '.a', 'b.');
    const { object } = fc.letrec<{ object: unknown; value: unknown }>((tie) => ({
      object: fc.dictionary(key, tie('value'), { maxKeys: 3 }),
      value: fc.oneof(fc.constant(1), tie('object')),
    }));
    fc.assert(
      fc.property(object, (context) => {
        const paths = pathsOf(context);
        const isTaken = serialiseContext(context, 'context', 10_000, new Problems()) !== undefined;
        expect(isTaken).toBe(new Set(paths).size === paths.length);
      }),
    );
  });

  test('it names a path of keys that somebody else has chosen in few characters', () => {
    const problems = new Problems();
    const long = '.'.repeat(200_000);
    const context = { 'x\n\u001b[31m\u009b\u202e': { [long]: 1 }, [`x\n\u001b[31m\u009b\u202e.${long}`]: 1 };
    expect(serialiseContext(context, 'context', 1_000_000, problems)).toBeUndefined();
    const { message } = new OutboxError('OUTBOX_EVENT_INVALID', { problems: problems.list() });
    expect(message).toContain('the path x\\u000a\\u001b[31m\\u009b\\u202e....');
    expect(message.length).toBeLessThan(1000);
  });

  test.each([
    { 'a.b': 1, a: { c: 2 } },
    { a: 1, 'a.b': 2 },
    { '': 1, a: { '': 2 } },
    { 'a.b': 1, x: { 'a.b': 1 } },
  ])('it takes %j', (context) => {
    expect(serialiseContext(context, 'context', 1000, new Problems())?.text).toBe(JSON.stringify(context));
  });
});
