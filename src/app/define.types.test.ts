/** What compiles and what does not. tsc checks this file: it fails when an expected error does not occur. */
import { type } from 'arktype';
import * as v from 'valibot';
import { expect, expectTypeOf, test } from 'vitest';
import * as z from 'zod';
import { createOutbox, defineEvent, emitEvent, emitEvents, type OutboxEvent, type Transaction } from './index.ts';

const placed = defineEvent('order.placed', { schema: z.object({ orderId: z.string() }) });
const placed2 = defineEvent('order.placed', {
  schema: v.object({ orderId: v.string(), currency: v.optional(v.string(), 'EUR') }),
  version: 2,
});
const paid = defineEvent('order.paid', { schema: type({ orderId: 'string', 'cents?': 'number' }), version: 1 });
const signedUp = defineEvent<{ userId: string }>('user.signed_up', { version: 2 });
const left = defineEvent<{ userId: string }, 'user.left', 3>('user.left', { version: 3 });

/** Never called: tsc checks it. */
const contexts = async (tx: Transaction, orderId: string): Promise<void> => {
  await emitEvent(tx, placed({ orderId }));
  await emitEvent(tx, placed({ orderId }, { id: orderId, time: new Date(), environment: 'test' }));
  await emitEvents(tx, [placed({ orderId }), placed2({ orderId }), paid({ orderId }), signedUp({ userId: 'u' })]);
  await emitEvent(tx, { type: 'order.placed', context: { orderId }, metadataVersion: 7 });
  await emitEvents(tx, [{ type: 'by.hand', context: {} }, placed({ orderId })]);
  const byHand: OutboxEvent = { type: 'a', context: {} };
  await emitEvent(tx, byHand);
  // @ts-expect-error -- zod: a missing field
  placed({});
  // @ts-expect-error -- valibot: a missing field
  placed2({ currency: 'EUR' });
  // @ts-expect-error -- arktype: a missing field
  paid({ cents: 1 });
  // @ts-expect-error -- types alone: a missing field
  signedUp({});
  // @ts-expect-error -- zod: a wrong type
  placed({ orderId: 1 });
  // @ts-expect-error -- valibot: a wrong type
  placed2({ orderId, currency: 1 });
  // @ts-expect-error -- arktype: a wrong type
  paid({ orderId, cents: '1' });
  // @ts-expect-error -- types alone: a wrong type
  signedUp({ userId: 1 });
  // @ts-expect-error -- a field that the schema does not have
  placed({ orderId, amount: 1 });
  // @ts-expect-error -- no context
  placed();
  // @ts-expect-error -- a typo among the options
  placed({ orderId }, { enviroment: 'test' });
  // @ts-expect-error -- the version is the definition's
  placed({ orderId }, { metadataVersion: 2 });
  // @ts-expect-error -- the definition, not an event
  await emitEvent(tx, placed);
  // @ts-expect-error -- by hand, with an array as context
  await emitEvent(tx, { type: 'a', context: [1] });
  // @ts-expect-error -- by hand, with a typo
  await emitEvent(tx, { type: 'a', context: {}, enviroment: 'x' });
};

const registries = async (tx: Transaction, orderId: string): Promise<void> => {
  const outbox = createOutbox({ events: [placed, placed2, left] });
  await outbox.emitEvent(tx, placed({ orderId }));
  await outbox.emitEvents(tx, [placed2({ orderId }), left({ userId: 'u' })]);
  // @ts-expect-error -- another type
  await outbox.emitEvent(tx, paid({ orderId }));
  // @ts-expect-error -- another type among others
  await outbox.emitEvents(tx, [placed({ orderId }), paid({ orderId })]);
  // @ts-expect-error -- by hand
  await outbox.emitEvent(tx, { type: 'order.placed', context: { orderId }, metadataVersion: 1 });
  // @ts-expect-error -- another version of a type that it has
  await createOutbox({ events: [placed2] }).emitEvent(tx, placed({ orderId }));
  // @ts-expect-error -- another name, of the same context
  await createOutbox({ events: [left] }).emitEvent(tx, signedUp({ userId: 'u' }));
  // @ts-expect-error -- another context, which decides when the definition has no literal name
  await createOutbox({ events: [signedUp] }).emitEvent(tx, placed({ orderId }));
  // @ts-expect-error -- an empty registry accepts nothing
  await createOutbox({ events: [] }).emitEvent(tx, placed({ orderId }));
  await createOutbox().emitEvent(tx, { type: 'a', context: {} });
  await createOutbox({ environment: 'test' }).emitEvents(tx, [placed({ orderId }), { type: 'a', context: {} }]);
  // @ts-expect-error -- no definition
  createOutbox({ events: ['order.placed'] });
  // @ts-expect-error -- a typo
  createOutbox({ enviroment: 'test' });
  // @ts-expect-error -- a value, not a function
  createOutbox({ context: { actor: 'a' } });
  // @ts-expect-error -- defaults are an object
  createOutbox({ context: () => 'actor' });
  // @ts-expect-error -- defaults are an object, not a promise
  createOutbox({ context: async () => ({ actor: 'a' }) });
};

const schemas = (): void => {
  // @ts-expect-error -- zod: no object
  defineEvent('a', { schema: z.string() });
  // @ts-expect-error -- zod: an array
  defineEvent('a', { schema: z.array(z.string()) });
  // @ts-expect-error -- zod: a transform to a string
  defineEvent('a', { schema: z.object({ a: z.string() }).transform((value) => value.a) });
  // @ts-expect-error -- zod: a bigint
  defineEvent('a', { schema: z.object({ a: z.bigint() }) });
  // @ts-expect-error -- zod: a bigint inside
  defineEvent('a', { schema: z.object({ a: z.object({ b: z.array(z.bigint().optional()) }) }) });
  // @ts-expect-error -- zod: a Map
  defineEvent('a', { schema: z.object({ a: z.map(z.string(), z.string()) }) });
  // @ts-expect-error -- zod: a Set
  defineEvent('a', { schema: z.object({ a: z.set(z.string()) }) });
  // @ts-expect-error -- zod: a symbol
  defineEvent('a', { schema: z.object({ a: z.symbol() }) });
  // @ts-expect-error -- valibot: no object
  defineEvent('a', { schema: v.string() });
  // @ts-expect-error -- valibot: a bigint
  defineEvent('a', { schema: v.object({ a: v.bigint() }) });
  const toMap = v.transform((text: string) => new Map([[text, 1]]));
  // @ts-expect-error -- valibot: a transform to a Map
  defineEvent('a', { schema: v.object({ a: v.pipe(v.string(), toMap) }) });
  // @ts-expect-error -- arktype: no object
  defineEvent('a', { schema: type('string') });
  // @ts-expect-error -- arktype: a bigint
  defineEvent('a', { schema: type({ a: 'bigint' }) });
  // @ts-expect-error -- types alone: a string
  defineEvent<string>('a');
  // @ts-expect-error -- types alone: a Map
  defineEvent<Map<string, string>>('a');
  // @ts-expect-error -- types alone: a bigint
  defineEvent<{ a: bigint }>('a');
  // @ts-expect-error -- types alone: a function inside
  defineEvent<{ a: { b: () => void }[] }>('a');
  // @ts-expect-error -- no type
  defineEvent({ schema: z.object({}) });
  // @ts-expect-error -- a version is a number
  defineEvent('a', { schema: z.object({}), version: '1' });
  // @ts-expect-error -- no schema
  defineEvent('a', { schema: (value: unknown) => value });
  // @ts-expect-error -- a typo
  defineEvent('a', { schema: z.object({}), vesion: 1 });
};

interface Tree {
  name: string;
  at: Date;
  children: Tree[];
  parent?: Tree | undefined;
}

test('defineEvent infers the context from the schema, and literal types for type and version', () => {
  expectTypeOf(placed).parameter(0).toEqualTypeOf<{ orderId: string }>();
  expectTypeOf(placed2).parameter(0).toEqualTypeOf<{ orderId: string; currency?: string | undefined }>();
  expectTypeOf(paid).parameter(0).toEqualTypeOf<{ orderId: string; cents?: number }>();
  expectTypeOf(signedUp).parameter(0).toEqualTypeOf<{ userId: string }>();
  expectTypeOf(placed.type).toEqualTypeOf<'order.placed'>();
  expectTypeOf(placed.version).toEqualTypeOf<1>();
  expectTypeOf(placed2({ orderId: '1' }).metadataVersion).toEqualTypeOf<2>();
  expectTypeOf(left({ userId: '1' }).type).toEqualTypeOf<'user.left'>();
  expectTypeOf(signedUp.type).toEqualTypeOf<string>();
  expect([contexts, registries, schemas]).toHaveLength(3);
});

test('defineEvent accepts any input type when JSON can store the output type', () => {
  const parsed = defineEvent('a', { schema: z.string().transform((text) => ({ text })) });
  expectTypeOf(parsed).parameter(0).toEqualTypeOf<string>();
  const counted = defineEvent('a', { schema: z.object({ n: z.bigint().transform(String) }) });
  expectTypeOf(counted).parameter(0).toEqualTypeOf<{ n: bigint }>();
  defineEvent('a', { schema: z.object({ at: z.date(), id: z.string().brand<'Id'>(), any: z.unknown() }) });
  defineEvent('a', { schema: z.looseObject({ a: z.string().nullish(), b: z.enum(['x']).array() }) });
  defineEvent('a', { schema: z.union([z.object({ a: z.string() }), z.object({ b: z.literal(1) })]) });
  defineEvent('a', { schema: type({ at: 'Date', 'list?': 'string[]' }) });
  defineEvent('a', {
    schema: v.variant('kind', [v.object({ kind: v.literal('x') }), v.object({ kind: v.literal('y') })]),
  });
  expectTypeOf(defineEvent<Tree>('tree')).parameter(0).toEqualTypeOf<Tree>();
  expectTypeOf(defineEvent<{ link: URL; bytes: Buffer }>('a').version).toEqualTypeOf<number>();
});
