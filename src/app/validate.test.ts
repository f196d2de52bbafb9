import { type } from 'arktype';
import * as v from 'valibot';
import { describe, expect, test } from 'vitest';
import * as z from 'zod';
import type { OutboxError } from '../errors.ts';
import { CANARY, problemsOf, schemaOf, stored } from './define.fixture.ts';
import { type DefinedEvent, defineEvent } from './define.ts';
import { emitEvent, emitEvents } from './emit.ts';
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

describe.for(SCHEMAS)('%s', ([vendor, schema]) => {
  const placed = defineEvent('order.placed', { schema });
  const wrong = (context: unknown): DefinedEvent => placed(context as { id: string });

  test('what is stored is its output, with defaults', async () => {
    expect(await stored(placed({ id: '1' }))).toEqual({ id: '1', n: 5 });
  });

  test('problems have path and kind, and the code of the library; no value', async () => {
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

  test('a message that quotes the value goes nowhere', async () => {
    const [problem] = await problemsOf(placed({ id: CANARY }));
    expect(problem).toMatch(
      /^event\.context\.id: is a string, refused by the schema \(\w+: (custom|check|predicate)\)$/,
    );
  });

  test.for([undefined, null, CANARY, 1, [CANARY], new Map([[CANARY, CANARY]])])(
    'no object at all: %o',
    async (context) => {
      expect(await problemsOf(wrong(context))).toEqual([
        expect.stringMatching(/^event\.context(\.id)?: .* refused by the schema/),
      ]);
    },
  );

  test('the context stays as it is', async () => {
    const context = { id: '1' };
    await stored(placed(context));
    expect(context).toEqual({ id: '1' });
  });
});

describe('an output that is no context is refused, although types were told otherwise', () => {
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
  ])('%s', async ([problem, schema]) => {
    expect(await problemsOf(defineEvent('a', { schema: cast(schema) })({}))).toEqual([problem]);
  });
});

describe('a validator that breaks', () => {
  class SecretError extends Error {}
  const fail = (): never => {
    throw new SecretError(CANARY);
  };

  test.for<[string, (value: unknown) => unknown]>([
    ['cannot be validated: the validator threw SecretError', fail],
    ['cannot be validated: the validator threw SecretError', async () => fail()],
    // oxlint-disable-next-line typescript/prefer-promise-reject-errors -- the case
    ['cannot be validated: the validator threw a string', async () => Promise.reject(CANARY)],
    ['cannot be validated: the validator gave undefined', () => undefined],
    ['cannot be validated: the validator gave a string', async () => CANARY],
    ['is refused by the schema', () => ({ issues: [] })],
    ['is missing, or refused by the schema', () => ({ issues: [{ message: CANARY }] })],
    ['cannot be validated: the validator threw TypeError', () => ({ issues: [null] })],
    ['cannot be validated: the validator threw TypeError', () => ({ issues: 1 })],
    ['is missing', () => ({})],
  ])('%s', async ([problem, validate]) => {
    const event = defineEvent('a', { schema: schemaOf<object>(validate) });
    expect(await problemsOf(event(undefined))).toEqual([`event.context: ${problem}`]);
  });

  test('keys of any kind in the path, and codes of others, are not told', async () => {
    const issue = { message: CANARY, code: CANARY, type: CANARY, path: [{ key: { secret: CANARY } }, Symbol(CANARY)] };
    const event = defineEvent('a', { schema: schemaOf<object>(() => ({ issues: [issue] })) });
    expect(await problemsOf(event({}))).toEqual([
      'event.context["an object"]["a symbol"]: is missing, or refused by the schema',
    ]);
    const text = defineEvent('a', { schema: schemaOf<object>(() => ({ issues: [{ ...issue, path: [] }] }), 'zod') });
    expect(await problemsOf(text({}))).toEqual(['event.context: is an object, refused by the schema']);
  });
});

describe('an asynchronous validator', () => {
  /** Passes on what it is given, when it is told to. */
  function held(): { schema: StandardSchema<{ n: number; list: number[] }, object>; answer: () => void } {
    const gate = Promise.withResolvers<void>();
    return {
      schema: schemaOf(async (value) => gate.promise.then(() => ({ value }))) as never,
      answer: gate.resolve,
    };
  }

  test('sees, and passes on, the event as it was when it was emitted', async () => {
    const { schema, answer } = held();
    const recorder = createRecorder();
    const context = { n: 1, list: [1] };
    const options = { environment: 'before', time: new Date(0) };
    const event = defineEvent('a', { schema })(context, options);
    const done = emitEvent(recorder.transaction(), event);
    context.n = 2;
    context.list.push(2);
    options.time.setTime(1);
    Object.assign(event, { environment: 'after', context: {} });
    answer();
    await done;
    expect(recorder.events).toMatchObject([{ context: { n: 1, list: [1] }, environment: 'before', time: new Date(0) }]);
  });

  test('may take longer than the transaction: the event is refused', async () => {
    const { schema, answer } = held();
    const recorder = createRecorder();
    const tx = recorder.transaction();
    const calls = [
      emitEvent(tx, defineEvent('a', { schema })({ n: 1, list: [] })),
      emitEvents(tx, [defineEvent('a', { schema })({ n: 1, list: [] })]),
    ];
    tx.commit();
    answer();
    for (const call of calls) await expect(call).rejects.toMatchObject({ code: 'OUTBOX_NO_TRANSACTION' });
    expect(recorder.events).toEqual([]);
  });

  test('keeps events in order, among those that are checked at once', async () => {
    const recorder = createRecorder();
    const slow = defineEvent('slow', { schema: z.object({ n: z.number().refine(async () => Promise.resolve(true)) }) });
    const events = [slow({ n: 1 }), { type: 'b', context: {} }, slow({ n: 2 }), slow({ n: 3 })];
    const ids = await emitEvents(recorder.transaction(), events);
    expect(recorder.events.map(({ id }) => id)).toEqual(ids);
    expect(recorder.events.map(({ context }) => context['n'])).toEqual([1, undefined, 2, 3]);
  });

  test('and all problems of all events, in one error', async () => {
    const slow = defineEvent('slow', {
      schema: z.object({ n: z.number().refine(async () => Promise.resolve(false)) }),
    });
    const events = [slow({ n: 1 }), { type: '', context: {} }, slow({ n: 2 }, { id: 'x' })];
    const error: unknown = await emitEvents(createRecorder().transaction(), events).catch((thrown: unknown) => thrown);
    expect((error as OutboxError).problems.toSorted()).toEqual([
      'events[0].context.n: is a number, refused by the schema (zod: custom)',
      'events[1].type: is empty',
      'events[2].context.n: is a number, refused by the schema (zod: custom)',
      'events[2].id: is not a UUID of the form 8-4-4-4-12',
    ]);
  });

  test('is given no class instance, which could change meanwhile', async () => {
    class Cart {
      toJSON(): object {
        return {};
      }
    }
    const schema = schemaOf<object>(async (value) => ({ value }));
    expect(await problemsOf(defineEvent('a', { schema })({ list: [new Cart()] }))).toEqual([
      'event.context.list[0]: is an instance of Cart, which could change while an asynchronous validator runs: pass plain data',
    ]);
  });
});
