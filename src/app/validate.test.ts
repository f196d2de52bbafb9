import { setImmediate } from 'node:timers/promises';
import { type } from 'arktype';
import * as v from 'valibot';
import { describe, expect, test, vi } from 'vitest';
import * as z from 'zod';
import type { OutboxError } from '../errors.ts';
import { CANARY, problemsOf, schemaOf, stored } from './define.fixture.ts';
import { type DefinedEvent, defineEvent } from './define.ts';
import { emitEvents } from './emit.ts';
import type { StandardSchema } from './standard-schema.ts';
import { createRecorder } from './testing.ts';

const SCHEMAS: [
  string,
  StandardSchema<{ id: string; n?: number | undefined; list?: { a: 'x' }[] | undefined }, object>,
][] = [
  [
    'zod',
    z.object({
      id: z.string().refine((id) => id !== CANARY, { error: ({ input }) => `not ${String(input)}` }),
      n: z.number().default(5),
      list: z.array(z.object({ a: z.enum(['x']) })).optional(),
    }),
  ],
  [
    'valibot',
    v.object({
      id: v.pipe(
        v.string(),
        v.check(
          (id) => id !== CANARY,
          ({ input }) => `not ${input}`,
        ),
      ),
      n: v.optional(v.number(), 5),
      list: v.optional(v.array(v.object({ a: v.picklist(['x']) }))),
    }),
  ],
  [
    'arktype',
    type({
      id: type('string').narrow((id, ctx) => id !== CANARY || ctx.mustBe(`not ${id}`)),
      n: 'number = 5',
      'list?': type({ a: "'x'" }).array(),
    }),
  ],
];

describe.for(SCHEMAS)('emitEvent, with a schema of %s', ([vendor, schema]) => {
  const placed = defineEvent('order.placed', { schema });
  const wrong = (context: unknown): DefinedEvent => placed(context as { id: string });

  test('it stores the output of the schema, with defaults', async () => {
    expect(await stored(placed({ id: '1' }))).toEqual({ id: '1', n: 5 });
  });

  test('it rejects with path, kind and the code of the library, without a value', async () => {
    const code = (codes: string[]): string => codes[SCHEMAS.findIndex(([name]) => name === vendor)]!;
    const problems = await problemsOf(wrong({ id: 1, n: CANARY, list: [{ a: 'x' }, { a: CANARY }] }));
    expect(problems.toSorted()).toEqual([
      `event.context.id: is a number, refused by the schema (${vendor}: ${code(['invalid_type', 'string', 'domain'])})`,
      `event.context.list[1].a: is a string, refused by the schema (${vendor}: ${code(['invalid_value', 'picklist', 'unit'])})`,
      `event.context.n: is a string, refused by the schema (${vendor}: ${code(['invalid_type', 'number', 'domain'])})`,
    ]);
    expect(await problemsOf(wrong({}))).toEqual([
      `event.context.id: is missing, or refused by the schema (${vendor}: ${code(['invalid_type', 'object', 'required'])})`,
    ]);
  });

  test('it does not repeat a message of the library that quotes the value', async () => {
    const [problem] = await problemsOf(placed({ id: CANARY }));
    expect(problem).toMatch(
      /^event\.context\.id: is a string, refused by the schema \(\w+: (custom|check|predicate)\)$/,
    );
  });

  test.for([undefined, null, CANARY, 1, [CANARY], new Map([[CANARY, CANARY]])])(
    'it rejects a context that is no object: %o',
    async (context) => {
      expect(await problemsOf(wrong(context))).toEqual([
        expect.stringMatching(/^event\.context(\.id)?: .* refused by the schema/),
      ]);
    },
  );

  test('it does not change the context', async () => {
    const context = { id: '1' };
    await stored(placed(context));
    expect(context).toEqual({ id: '1' });
  });
});

describe('emitEvent, with a schema whose output cannot be stored', () => {
  const cast = (schema: StandardSchema): StandardSchema<unknown, object> => schema as StandardSchema<unknown, object>;

  test.for<[string, StandardSchema]>([
    ['event.context: is a string, not an object', z.object({}).transform(() => CANARY)],
    ['event.context: is an array, not an object', z.object({}).transform(() => [CANARY])],
    ['event.context: is missing', z.object({}).transform(() => undefined)],
    ['event.context.a: is a bigint', z.object({ a: z.bigint().default(1n) })],
    [
      'event.context.a: is an instance of Map, which JSON would lose: give it a toJSON or pass plain data',
      z.object({ a: z.map(z.string(), z.string()).default(new Map([[CANARY, CANARY]])) }),
    ],
    ['event.context.a: is NaN', z.object({ a: z.number().or(z.nan()).default(Number.NaN) })],
    ['event.context.a: is a bigint', v.object({ a: v.optional(v.bigint(), 1n) })],
    ['event.context.a: is a bigint', type({ a: 'bigint = 1n' })],
  ])('it rejects: %s', async ([problem, schema]) => {
    expect(await problemsOf(defineEvent('a', { schema: cast(schema) })({}))).toEqual([problem]);
  });
});

describe('emitEvent, with a schema that breaks its contract', () => {
  class SecretError extends Error {}
  const fail = (): never => {
    throw new SecretError(CANARY);
  };

  test.for<[string, (value: unknown) => unknown]>([
    ['cannot be validated: the validator threw SecretError', fail],
    [
      'cannot be validated: the validator threw a string',
      () => {
        // oxlint-disable-next-line typescript/only-throw-error -- the case
        throw CANARY;
      },
    ],
    ['cannot be validated: the validator gave undefined', () => undefined],
    ['cannot be validated: the validator gave a string', () => CANARY],
    ['is refused by the schema', () => ({ issues: [] })],
    ['is missing, or refused by the schema', () => ({ issues: [{ message: CANARY }] })],
    ['cannot be validated: the validator threw TypeError', () => ({ issues: [null] })],
    ['cannot be validated: the validator threw TypeError', () => ({ issues: 1 })],
    ['is missing', () => ({})],
  ])('it rejects: %s', async ([problem, validate]) => {
    const event = defineEvent('a', { schema: schemaOf<object>(validate) });
    expect(await problemsOf(event(undefined))).toEqual([`event.context: ${problem}`]);
  });

  test('it does not repeat path keys that are no text, nor codes of unknown form', async () => {
    const issue = { message: CANARY, code: CANARY, type: CANARY, path: [{ key: { secret: CANARY } }, Symbol(CANARY)] };
    const event = defineEvent('a', { schema: schemaOf<object>(() => ({ issues: [issue] })) });
    expect(await problemsOf(event({}))).toEqual([
      'event.context["an object"]["a symbol"]: is missing, or refused by the schema',
    ]);
    const text = defineEvent('a', { schema: schemaOf<object>(() => ({ issues: [{ ...issue, path: [] }] }), 'zod') });
    expect(await problemsOf(text({}))).toEqual(['event.context: is an object, refused by the schema']);
  });
});

describe('an asynchronous schema', () => {
  const check = v.checkAsync<number, string>(async () => Promise.resolve(true), CANARY);
  const problem = (name: string): string =>
    `event.context: cannot be validated: the schema of "${name}" answers asynchronously, and only synchronous schemas are supported. Validate before, then emit the result without this schema`;

  test.for<[string, StandardSchema<{ n: number }, object>]>([
    ['zod', z.object({ n: z.number().refine(async () => Promise.resolve(true)) })],
    ['valibot', v.objectAsync({ n: v.pipeAsync(v.number(), check) })],
    ['a function', schemaOf(async (value) => ({ value })) as never],
    // oxlint-disable-next-line unicorn/no-thenable -- the case
    ['a promise of another library', schemaOf(() => ({ then: () => undefined })) as never],
  ])('emitEvent rejects its events: %s', async ([, schema]) => {
    expect(await problemsOf(defineEvent('order.placed', { schema })({ n: 1 }))).toEqual([problem('order.placed')]);
  });

  test('emitEvents rejects its events together with all other problems', async () => {
    const placed = defineEvent('order.placed', { schema: schemaOf<object>(async (value) => ({ value })) });
    const events = [placed({}), { type: '', context: {} }, placed({}, { id: 'x' })];
    const error: unknown = await emitEvents(createRecorder().transaction(), events).catch((thrown: unknown) => thrown);
    expect((error as OutboxError).problems).toEqual([
      problem('order.placed').replace('event.', 'events[0].'),
      'events[1].type: is empty',
      problem('order.placed').replace('event.', 'events[2].'),
      'events[2].id: is not a UUID of the form 8-4-4-4-12',
    ]);
  });

  test('the problem shortens a long type', async () => {
    const event = defineEvent('x'.repeat(1000), { schema: schemaOf<object>(async (value) => ({ value })) })({});
    expect(await problemsOf(event)).toEqual([problem('x'.repeat(64))]);
  });

  test('emitEvent handles the later rejection of its promise', async () => {
    const unhandled = vi.fn<() => void>();
    process.on('unhandledRejection', unhandled);
    try {
      const schema = schemaOf<object>(async () => Promise.reject(new Error(CANARY)));
      expect(await problemsOf(defineEvent('a', { schema })({}))).toEqual([problem('a')]);
      // Node reports unhandled rejections before it runs immediates
      await setImmediate();
      expect(unhandled).not.toHaveBeenCalled();
    } finally {
      process.off('unhandledRejection', unhandled);
    }
  });
});
