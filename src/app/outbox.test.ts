import { setImmediate } from 'node:timers/promises';
import { inspect } from 'node:util';
import { afterEach, describe, expect, test, vi } from 'vitest';
import * as z from 'zod';
import { OutboxError } from '../errors.ts';
import { SCHEMA_FORM } from '../schema-name.ts';
import { type DefinedEvent, defineEvent } from './define.ts';
import * as plain from './emit.ts';
import { createOutbox, type OutboxOptions } from './outbox.ts';
import { createRecorder } from './testing.ts';

const CANARY = 'canary-91ab';
const EVENT = { type: 'a', context: { own: 1 } };

afterEach(() => {
  vi.unstubAllEnvs();
});

async function stored(options: OutboxOptions, context: object = EVENT.context): Promise<unknown> {
  const recorder = createRecorder();
  await createOutbox(options as OutboxOptions<never>).emitEvent(recorder.transaction(), { type: 'a', context });
  return recorder.events[0]?.context;
}

/** Whatever JavaScript callers and casts can pass. */
function refusal(options: unknown): readonly string[] {
  try {
    createOutbox(options as OutboxOptions<never>);
  } catch (error) {
    if (error instanceof OutboxError && error.code === 'OUTBOX_DEFINITION_INVALID') return error.problems;
  }
  throw new Error('createOutbox did not throw');
}

describe('createOutbox, with wrong options', () => {
  const one = defineEvent('a', { version: 1 });
  const again = defineEvent('a', { version: 1, schema: z.object({}) } as never);
  const two = defineEvent('a', { version: 2 });

  test.for<[string, unknown]>([
    ['options: is null, not an object', null],
    ['options.enviroment: is not a field of createOutbox: did you mean environment?', { enviroment: 'x' }],
    ['environment: is a number, not a string', { environment: 1 }],
    [`schema: is not ${SCHEMA_FORM}`, { schema: 'pg_x' }],
    [`schema: is a number, not ${SCHEMA_FORM}`, { schema: 1 }],
    ['environment: holds a NUL, which Postgres cannot store', { environment: '\0' }],
    ['context: is an object, not a function', { context: {} }],
    ['events: is an object, not an array', { events: {} }],
    ['events[1]: is a string, not a definition made by defineEvent', { events: [one, 'a'] }],
    ['events[0]: is an object, not a definition made by defineEvent', { events: [one({})] }],
    ['events[2]: defines the same type and version as events[0]', { events: [one, two, again] }],
    ['events[1]: defines the same type and version as events[0]', { events: [one, one] }],
    ['redact: is a string, not an array of paths', { redact: 'email' }],
    [
      'redact[1]: is no path such as email, payment.card, items[*].note or ["odd key"]; [*] stands for any index',
      { redact: ['a', 'a[0]'] },
    ],
  ])('it throws at once: %s', ([problem, options]) => {
    expect(refusal(options)).toEqual([problem]);
  });

  test('it throws with all problems', () => {
    expect(refusal({ environment: 1, context: 1, events: [1], redact: ['', '.'], x: 1 })).toHaveLength(6);
  });
});

describe('the environment of an event', () => {
  test('it is the event’s own, else the outbox’s, else OUTBOX_ENVIRONMENT', async () => {
    vi.stubEnv('OUTBOX_ENVIRONMENT', 'variable');
    const recorder = createRecorder();
    const tx = recorder.transaction();
    const { emitEvent, emitEvents } = createOutbox({ environment: 'outbox' });
    await emitEvent(tx, { ...EVENT, environment: 'event' });
    await emitEvents(tx, [EVENT, EVENT]);
    await createOutbox({ environment: '' }).emitEvent(tx, EVENT);
    await createOutbox().emitEvent(tx, EVENT);
    expect(recorder.events.map(({ environment }) => environment)).toEqual([
      'event',
      'outbox',
      'outbox',
      '',
      'variable',
    ]);
  });
});

describe('the defaults of an outbox', () => {
  test.for<[string, object, object, object]>([
    ['they are added', { a: 1 }, { b: 2 }, { a: 1, b: 2 }],
    ['a property of the event wins', { a: 1 }, { a: 2 }, { a: 2 }],
    ['a null of the event wins', { a: 1 }, { a: null }, { a: null }],
    ['they win over undefined', { a: 1 }, { a: undefined }, { a: 1 }],
    ['they win over a toJSON that gives undefined', { a: 1 }, { a: { toJSON: () => undefined } }, { a: 1 }],
    ['an undefined default adds nothing', { a: undefined }, {}, {}],
    ['they are merged only at the top level', { a: { b: 1 } }, { a: { c: 2 } }, { a: { c: 2 } }],
    ['they are written as JSON writes them', { at: new Date(0) }, {}, { at: '1970-01-01T00:00:00.000Z' }],
    ['they are merged into the result of a toJSON', { a: 1, b: 1 }, { toJSON: () => ({ b: 2 }) }, { a: 1, b: 2 }],
  ])('%s', async ([, defaults, own, expected]) => {
    expect(await stored({ context: () => defaults }, own)).toEqual(expected);
  });

  test('undefined defaults add nothing', async () => {
    expect(await stored({ context: () => undefined })).toEqual({ own: 1 });
  });

  test('an own __proto__ of the event wins over one of the defaults', async () => {
    const recorder = createRecorder();
    const parsed = (text: string): object => JSON.parse(text) as object;
    const outbox = createOutbox({ context: () => parsed('{"__proto__": {"a": 1}, "b": 1}') });
    await outbox.emitEvent(recorder.transaction(), { type: 'a', context: parsed('{"__proto__": {"c": 1}}') });
    expect(JSON.stringify(recorder.events[0]?.context)).toBe('{"__proto__":{"c":1},"b":1}');
  });

  test('their function runs once a call, and only within a transaction', async () => {
    const context = vi.fn<() => object>(() => ({ a: 1 }));
    const outbox = createOutbox({ context });
    const tx = createRecorder().transaction();
    await outbox.emitEvents(tx, [EVENT, EVENT]);
    expect(context).toHaveBeenCalledOnce();
    tx.commit();
    await expect(outbox.emitEvent(tx, EVENT)).rejects.toMatchObject({ code: 'OUTBOX_NO_TRANSACTION' });
    expect(context).toHaveBeenCalledOnce();
  });

  test('they are merged after validation, as they were at the call', async () => {
    const defaults = { actor: 'before' };
    const strict = defineEvent('a', { schema: z.strictObject({ n: z.number() }) });
    const recorder = createRecorder();
    const done = createOutbox({ context: () => defaults }).emitEvent(recorder.transaction(), strict({ n: 1 }));
    defaults.actor = 'after';
    await done;
    expect(recorder.events[0]?.context).toEqual({ actor: 'before', n: 1 });
  });

  test.for<[string, unknown]>([
    ['defaults: is a string, not an object', 'x'],
    ['defaults: is null, not an object', null],
    ['defaults: is an array, not an object', []],
    ['defaults.a: is a bigint', { a: 1n }],
    [
      'defaults: is an instance of Promise, which JSON would lose: give it a toJSON or pass plain data',
      Promise.resolve({}),
    ],
  ])('emitEvent rejects invalid defaults: %s', async ([problem, defaults]) => {
    await expect(stored({ context: () => defaults as object })).rejects.toMatchObject({
      code: 'OUTBOX_EVENT_INVALID',
      problems: [problem],
    });
  });

  test('emitEvent rejects a promise of defaults, and handles its later rejection', async () => {
    const unhandled = vi.fn<() => void>();
    process.on('unhandledRejection', unhandled);
    try {
      const context = (): object => Promise.reject(new Error(CANARY));
      await expect(stored({ context })).rejects.toMatchObject({ code: 'OUTBOX_EVENT_INVALID' });
      // Node reports unhandled rejections before it runs immediates
      await setImmediate();
      expect(unhandled).not.toHaveBeenCalled();
    } finally {
      process.off('unhandledRejection', unhandled);
    }
  });

  test('emitEvent rejects with the error that their function throws', async () => {
    const error = new TypeError('no request');
    const context = (): never => {
      throw error;
    };
    await expect(stored({ context })).rejects.toBe(error);
  });

  test('they count towards the size of the event', async () => {
    vi.stubEnv('OUTBOX_MAX_EVENT_BYTES', '20');
    const problems = ['event.context: is larger than 20 bytes (OUTBOX_MAX_EVENT_BYTES)'];
    await expect(stored({ context: () => ({ abc: 12_345 }) })).rejects.toMatchObject({ problems });
  });
});

describe('the redaction of an outbox', () => {
  test('it does not change the context of the caller', async () => {
    const given = { a: { b: [{ c: CANARY }] } };
    expect(await stored({ redact: ['a.b.c'] }, given)).toEqual({ a: { b: [{ c: '[redacted]' }] } });
    expect(given).toEqual({ a: { b: [{ c: CANARY }] } });
  });

  test('it covers the event, the result of a toJSON, and the defaults', async () => {
    const user = { toJSON: () => ({ email: CANARY, id: 1 }) };
    const redact = ['email', 'user.email', 'items[*].note', 'actor.ip'];
    const context = (): object => ({ actor: { ip: CANARY, id: 2 }, email: CANARY });
    const given = { user, items: [{ note: CANARY }, { n: 1 }] };
    expect(await stored({ redact, context }, given)).toEqual({
      actor: { ip: '[redacted]', id: 2 },
      email: '[redacted]',
      user: { email: '[redacted]', id: 1 },
      items: [{ note: '[redacted]' }, { n: 1 }],
    });
    expect(given.items[0]).toEqual({ note: CANARY });
  });

  test('it runs after validation, so the schema sees the values', async () => {
    const recorder = createRecorder();
    const signedUp = defineEvent('a', { schema: z.object({ email: z.email(), name: z.string().default(CANARY) }) });
    const outbox = createOutbox({ events: [signedUp], redact: ['email', 'name'] });
    await outbox.emitEvent(recorder.transaction(), signedUp({ email: 'a@example.com' }));
    expect(recorder.events[0]?.context).toEqual({ email: '[redacted]', name: '[redacted]' });
  });

  test('it runs before the size is checked', async () => {
    vi.stubEnv('OUTBOX_MAX_EVENT_BYTES', '30');
    expect(await stored({ redact: ['a'] }, { a: 'x'.repeat(1000) })).toEqual({ a: '[redacted]' });
  });
});

describe('the registry of an outbox', () => {
  const one = defineEvent('a', { version: 1 });
  const two = defineEvent('a', { version: 2 });
  const other = defineEvent('a', { version: 2 });

  test('it accepts the events of its definitions, and no others', async () => {
    const recorder = createRecorder();
    const tx = recorder.transaction();
    const outbox = createOutbox({ events: [one, two] });
    await outbox.emitEvents(tx, [one({}), two({}), { ...one({}), environment: 'x' }]);
    expect(recorder.events.map(({ metadataVersion }) => metadataVersion)).toEqual([1, 2, 1]);
    const strangers: unknown[] = [other({ secret: CANARY }), { type: 'a', context: { secret: CANARY } }];
    const error: unknown = await outbox
      .emitEvents(tx, strangers as DefinedEvent<'a', object, 1>[])
      .catch((thrown: unknown) => thrown);
    expect((error as OutboxError).problems).toEqual([
      'events[0]: is not made by one of the definitions that this outbox was given as `events`',
      'events[1]: is not made by one of the definitions that this outbox was given as `events`',
    ]);
    expect(inspect(error, { depth: null })).not.toContain(CANARY);
    expect(recorder.events).toHaveLength(3);
  });
});

test('the schema of createOutbox goes before OUTBOX_SCHEMA, which the plain emitEvent reads at each call, too', async () => {
  const texts: string[] = [];
  const tx = {
    getTransactionStatus: () => 'T' as const,
    query: async (text: string) => {
      texts.push(text);
      return { rows: [], rowCount: 1 };
    },
  };
  const emitAll = async (): Promise<void> => {
    await plain.emitEvent(tx, EVENT);
    await plain.emitEvents(tx, [EVENT, EVENT]);
    await createOutbox().emitEvent(tx, EVENT);
    await createOutbox({ schema: 'billing' }).emitEvents(tx, [EVENT, EVENT]);
  };
  await emitAll();
  vi.stubEnv('OUTBOX_SCHEMA', 'shop');
  await emitAll();
  const schemas = ['outbox', 'outbox', 'outbox', 'billing', 'shop', 'shop', 'shop', 'billing'];
  expect(texts.map((text) => /^INSERT INTO (\w+)\.event \(/.exec(text)?.[1])).toEqual(schemas);
  expect(texts.slice(4).join('')).not.toContain('outbox');
  vi.stubEnv('OUTBOX_SCHEMA', 'Shop');
  await expect(plain.emitEvent(tx, EVENT)).rejects.toMatchObject({ code: 'OUTBOX_CONFIG_INVALID' });
  expect(texts).toHaveLength(8);
});

test('a recorder takes the events of every outbox', async () => {
  const recorder = createRecorder();
  await createOutbox({ schema: 'billing' }).emitEvents(recorder.transaction(), [EVENT, EVENT]);
  await createOutbox({ schema: 'shop' }).emitEvent(recorder.transaction(), EVENT);
  expect(recorder.events).toHaveLength(3);
});
