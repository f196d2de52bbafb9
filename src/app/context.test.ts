import * as fc from 'fast-check';
import { runInNewContext } from 'node:vm';
import { describe, expect, test } from 'vitest';
import { type Amendments, serialiseContext } from './context.ts';
import { Problems } from './problems.ts';
import { parseRedactPath } from './redact.ts';

function serialise(
  context: unknown,
  maxBytes = 1_000_000,
  amendments: Amendments = {},
): { text: string | undefined; problems: string[] } {
  const problems = new Problems();
  const result = serialiseContext(context, 'context', maxBytes, problems, amendments);
  return { text: result?.text, problems: problems.list() };
}

function problemsOf(context: unknown, maxBytes?: number): string[] {
  const { text, problems } = serialise(context, maxBytes);
  expect(text).toBeUndefined();
  return problems;
}

class Money {
  readonly #cents = 5;
  cents(): number {
    return this.#cents;
  }
}

describe('serialiseContext writes what JSON.stringify writes', () => {
  test.for<[string, object]>([
    ['an empty object', {}],
    ['an object without prototype', Object.assign(Object.create(null), { a: 1 })],
    ['nested data', { a: [1, { b: null }, 'ü', true], 'odd key': -0.5 }],
    ['undefined properties and items', { a: undefined, b: [undefined, 1] }],
    ['a Date', { at: new Date(0), list: [new Date(1)] }],
    ['a URL', { url: new URL('https://example.com/ü') }],
    ['a Buffer', { bytes: Buffer.from('ab') }],
    ['NUL', { a: '\0' }],
    ['line ends', { a: '\n\r\u2028\u2029' }],
    ['an own __proto__', JSON.parse('{"__proto__": {"a": 1}, "b": 2}') as object],
    ['an object of another realm', runInNewContext('({ a: [1, { b: new Date(0) }] })') as object],
    ['numbers as JavaScript prints them', { a: -0, b: 2 ** 60, c: 1e21, d: Number.MIN_VALUE, e: 0.1 + 0.2 }],
    [
      'an object without its symbol keys and hidden properties',
      Object.defineProperty({ a: 1, [Symbol('b')]: 2 }, 'c', { value: 3 }),
    ],
    ['the same object twice, because that is no cycle', ((same) => ({ a: same, b: [same, same] }))({ x: 1 })],
    ['the result of a toJSON at the top', { toJSON: () => ({ a: 1 }) }],
    ['no property whose toJSON gives undefined', { a: { toJSON: () => undefined }, b: 1 }],
    [
      'the result of a toJSON that uses its key',
      { a: { toJSON: (key: string) => key }, b: [{ toJSON: (key: string) => key }] },
    ],
  ])('it writes %s', ([, context]) => {
    expect(serialise(context)).toEqual({ text: JSON.stringify(context), problems: [] });
  });

  test('it writes any JSON object without a raw line feed, because the INSERT of many events splits at line feeds', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string({ unit: 'binary' }), fc.jsonValue({ stringUnit: 'binary' })), (context) => {
        const { text } = serialise(context);
        expect(text).toBe(JSON.stringify(context));
        expect(text).not.toContain('\n');
        expect(text?.isWellFormed()).toBe(true);
      }),
    );
  }, 20_000);

  test('it writes an own __proto__ beside a Date', () => {
    const context = JSON.parse('{"__proto__": {"a": 1}}') as Record<string, unknown>;
    context['at'] = new Date(0);
    expect(serialise(context).text).toBe(JSON.stringify(context));
  });

  test('it writes an own __proto__ that has a toJSON', () => {
    const context = JSON.parse('{"__proto__": 1}') as object;
    Object.defineProperty(context, '__proto__', { value: new Date(0), enumerable: true });
    expect(serialise(context).text).toBe(JSON.stringify(context));
  });

  test('it does not change the context', () => {
    const context = { at: new Date(0), list: [new Date(0)] };
    serialise(context);
    expect(context).toEqual({ at: new Date(0), list: [new Date(0)] });
  });

  test('it calls each toJSON once, so it writes the value that it checked', () => {
    let calls = 0;
    const fickle = { toJSON: () => ((calls += 1), calls === 1 ? 1 : Number.NaN) };
    expect(serialise({ fickle })).toEqual({ text: '{"fickle":1}', problems: [] });
    expect(calls).toBe(1);
  });

  test.for<[string, (result: object) => object]>([
    [
      'a property that is not enumerable',
      (result) => Object.defineProperty(result, 'toJSON', { value: () => Number.NaN }),
    ],
    [
      'a property of a prototype that has no prototype',
      (result) =>
        Object.assign(
          Object.create(Object.assign(Object.create(null), { toJSON: () => Number.NaN })) as object,
          result,
        ),
    ],
  ])('it ignores a second toJSON on the result of a toJSON: %s', ([, hide]) => {
    const a = { toJSON: () => hide({ b: 1 }) };
    expect(serialise({ a }).text).toBe('{"a":{"b":1}}');
    expect(serialise({ toJSON: () => hide({ b: 1 }) }).text).toBe('{"b":1}');
    expect(serialise({ list: { toJSON: () => hide([1]) } }).text).toMatch(/^\{"list":(\[1\]|\{"0":1\})\}$/);
  });

  test('it calls a toJSON on Object.prototype or Array.prototype once for each value', () => {
    for (const prototype of [Object.prototype, Array.prototype]) {
      let calls = 0;
      const toJSON = function toJSON(this: object): object {
        calls += 1;
        return this;
      };
      Object.defineProperty(prototype, 'toJSON', { configurable: true, value: toJSON });
      try {
        expect(serialise({ a: [1] }, 100, { defaults: { b: 1 } }).text).toBe('{"b":1,"a":[1]}');
        expect(calls).toBe(prototype === Object.prototype ? 2 : 1);
      } finally {
        Reflect.deleteProperty(prototype, 'toJSON');
      }
    }
  });

  test('it runs each getter once, so it redacts and writes the value that it checked', () => {
    let calls = 0;
    const fickle = {
      get a(): unknown {
        calls += 1;
        return calls === 1 ? { secret: 1 } : Number.NaN;
      },
    };
    const redact = [parseRedactPath('a.secret')!];
    expect(serialise({ fickle: [fickle] }).text).toBe('{"fickle":[{"a":{"secret":1}}]}');
    calls = 0;
    expect(serialise(fickle, 100, { redact }).text).toBe('{"a":{"secret":"[redacted]"}}');
    expect(calls).toBe(1);
  });

  test('it redacts the result of a toJSON that has a toJSON of its own', () => {
    const result = Object.defineProperty({ secret: 1 }, 'toJSON', { value: () => ({ secret: 'canary' }) });
    const redact = [parseRedactPath('a.secret')!];
    expect(serialise({ a: { toJSON: () => result } }, 100, { redact }).text).toBe('{"a":{"secret":"[redacted]"}}');
    expect(result.secret).toBe(1);
  });

  test('it writes a bigint when the application defines BigInt.prototype.toJSON', () => {
    // oxlint-disable-next-line no-extend-native -- what such applications do
    Object.defineProperty(BigInt.prototype, 'toJSON', { configurable: true, value: () => 'big' });
    try {
      expect(serialise({ a: 1n })).toEqual({ text: '{"a":"big"}', problems: [] });
    } finally {
      Reflect.deleteProperty(BigInt.prototype, 'toJSON');
    }
  });

  test('it reports the size of the text in UTF-8', () => {
    expect(serialiseContext({ a: 'ü€😀' }, 'context', 100, new Problems())?.bytes).toBe(8 + 2 + 3 + 4);
  });
});

describe('serialiseContext refuses a context that is no object', () => {
  test.for<[string, unknown]>([
    ['is missing', undefined],
    ['is null, not an object', null],
    ['is an array, not an object', [1]],
    ['is a string, not an object', 'x'],
    ['is a number, not an object', Number.NaN],
    ['is a bigint, not an object', 1n],
    ['is a function, not an object', () => 1],
    ['is a symbol, not an object', Symbol('x')],
    ['is a string, not an object', new Date(0)],
    ['is an invalid Date', new Date(Number.NaN)],
    ['is null, not an object', { toJSON: () => null }],
    ['is an instance of Map, which JSON would lose: give it a toJSON or pass plain data', new Map([['a', 1]])],
    ['is an instance of Promise, which JSON would lose: give it a toJSON or pass plain data', Promise.resolve({})],
    ['is an instance of Money, which JSON would lose: give it a toJSON or pass plain data', new Money()],
  ])('the problem says: %s', ([fault, context]) => {
    expect(problemsOf(context)).toEqual([`context: ${fault}`]);
  });

  test.runIf('rawJSON' in JSON)('it refuses a raw JSON text, at the top and inside', () => {
    const raw = (JSON as unknown as { rawJSON: (text: string) => object }).rawJSON('"\ud800"');
    const fault = 'is a raw JSON text, which cannot be checked: pass plain data';
    expect(problemsOf(raw)).toEqual([`context: ${fault}`]);
    expect(problemsOf({ a: [raw], b: { toJSON: () => raw } })).toEqual([
      `context.a[0]: ${fault}`,
      `context.b: ${fault}`,
    ]);
  });
});

describe('serialiseContext refuses what JSON would lose silently', () => {
  test.for<[string, unknown]>([
    ['is NaN', Number.NaN],
    ['is Infinity', Infinity],
    ['is -Infinity', -Infinity],
    ['is a bigint', 1n],
    ['is a function', () => 1],
    ['is a symbol', Symbol('x')],
    ['is an invalid Date', new Date(Number.NaN)],
    ['is NaN', { toJSON: () => Number.NaN }],
    ['is a bigint', { toJSON: () => 1n }],
    ...[new Map(), new Set(), new Error('x'), /x/, new Uint8Array(1), new Number(1), new Money(), new WeakMap()].map(
      (value): [string, unknown] => [
        `is an instance of ${value.constructor.name}, which JSON would lose: give it a toJSON or pass plain data`,
        value,
      ],
    ),
  ])('the problem names the path and says: %s', ([fault, value]) => {
    expect(problemsOf({ a: { b: [0, value] } })).toEqual([`context.a.b[1]: ${fault}`]);
  });

  test('it refuses a cycle through objects and arrays', () => {
    const a: Record<string, unknown> = { x: 1 };
    a['list'] = [{ back: a }];
    expect(problemsOf(a)).toEqual(['context.list[0].back: is a cycle: it contains itself']);
  });

  test('it refuses a toJSON that nests without end', () => {
    const endless = { toJSON: (): object => ({ next: { toJSON: endless.toJSON } }) };
    const [problem] = problemsOf({ endless });
    expect(problem).toMatch(/: is nested deeper than 100 levels$/);
  });

  test('it names all problems in order', () => {
    expect(problemsOf({ a: Number.NaN, 'odd key': 1n, ['k'.repeat(100)]: new Map() })).toEqual([
      'context.a: is NaN',
      'context["odd key"]: is a bigint',
      `context["${'k'.repeat(64)}…"]: is an instance of Map, which JSON would lose: give it a toJSON or pass plain data`,
    ]);
  });

  test('it names 100 problems at most and counts the rest', () => {
    const problems = problemsOf({ list: Array.from({ length: 1000 }, () => Number.NaN) });
    expect(problems).toHaveLength(101);
    expect(problems.at(-1)).toBe('… and 900 more');
  });
});

describe("serialiseContext names only the class of the caller's error", () => {
  class SecretError extends Error {}
  const fail = (): never => {
    throw new SecretError('canary');
  };

  test('it names the class when a toJSON throws', () => {
    expect(problemsOf({ a: { toJSON: fail } })).toEqual([
      'context.a: cannot be serialised: its toJSON threw SecretError',
    ]);
  });

  test('it names the class when a getter throws', () => {
    const problems = problemsOf({
      get a() {
        return fail();
      },
    });
    expect(problems).toEqual(['context: cannot be read: a getter or proxy threw SecretError']);
  });
});

describe('serialiseContext limits the size', () => {
  const fault = ['context: is larger than 20 bytes (OUTBOX_MAX_EVENT_BYTES)'];

  test('it refuses a text above the limit, counted in bytes of UTF-8', () => {
    expect(serialise({ a: 'x'.repeat(12) }, 20).text).toHaveLength(20);
    expect(problemsOf({ a: 'x'.repeat(13) }, 20)).toEqual(fault);
    expect(problemsOf({ a: 'ü'.repeat(7) }, 20)).toEqual(fault);
  });

  test('it stops early for references that multiply and for sparse arrays', () => {
    let doubling: object = {};
    for (let i = 0; i < 300; i += 1) doubling = { a: doubling, b: doubling };
    expect(problemsOf(doubling, 20)).toEqual(fault);
    // oxlint-disable-next-line unicorn/no-new-array -- a sparse array is the case
    expect(problemsOf({ a: new Array(4_000_000_000) }, 20)).toEqual(fault);
  });
});
