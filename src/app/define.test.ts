import { describe, expect, test } from 'vitest';
import * as z from 'zod';
import { OutboxError } from '../errors.ts';
import { CANARY, problemsOf, stored } from './define.fixture.ts';
import { defineEvent } from './define.ts';
import { emitEvent } from './emit.ts';
import { createRecorder } from './testing.ts';

/** Whatever JavaScript callers and casts can pass. */
function refusal(...args: unknown[]): readonly string[] {
  try {
    (defineEvent as (...args: unknown[]) => unknown)(...args);
  } catch (error) {
    if (error instanceof OutboxError && error.code === 'OUTBOX_DEFINITION_INVALID') return error.problems;
  }
  throw new Error('defineEvent did not throw');
}

describe('defineEvent', () => {
  test('it gives a frozen definition with its type and version', () => {
    const placed = defineEvent('order.placed', { schema: z.object({}), version: 7 });
    expect([placed.type, placed.version]).toEqual(['order.placed', 7]);
    expect(defineEvent('a').version).toBe(1);
    expect(() => Object.assign(placed, { type: 'b' })).toThrow(TypeError);
  });

  test('its definition makes events of its type and version', async () => {
    const recorder = createRecorder();
    const placed = defineEvent('order.placed', { schema: z.object({ n: z.number() }), version: 2 });
    const id = '0af76519-16cd-43dd-8448-eb211c80319c';
    const time = new Date(0);
    await emitEvent(recorder.transaction(), placed({ n: 1 }, { id, time, environment: 'x' }));
    expect(recorder.events).toEqual([
      {
        id,
        type: 'order.placed',
        context: { n: 1 },
        time,
        environment: 'x',
        metadataVersion: 2,
        subject: '',
        traceparent: null,
      },
    ]);
  });

  describe('the subject', () => {
    const placed = defineEvent('order.placed', {
      schema: z.object({ order: z.coerce.string() }),
      subject: ({ order }) => `order/${order}`,
    });

    test('is made from the output of the schema, unless the event has one of its own', async () => {
      const recorder = createRecorder();
      const tx = recorder.transaction();
      const emitted = defineEvent<{ user: string | undefined }>('user.left', {
        subject: ({ user }) => user && `user/${user}`,
      });
      await emitEvent(tx, placed({ order: 7 }));
      await emitEvent(tx, placed({ order: 7 }, { subject: 'cart/1' }));
      await emitEvent(tx, emitted({ user: 'a' }));
      await emitEvent(tx, emitted({ user: undefined }));
      expect(recorder.events.map(({ subject }) => subject)).toEqual(['order/7', 'cart/1', 'user/a', '']);
    });

    test('that cannot be made is a problem, without what was thrown', async () => {
      const thrown = defineEvent<{ a: number }>('a', {
        subject: () => {
          throw new RangeError(CANARY);
        },
      });
      const wrong = defineEvent<{ a: number }>('a', { subject: ({ a }) => a as unknown as string });
      expect(await problemsOf(thrown({ a: 1 }))).toEqual([
        "event.subject: cannot be made: the definition's function threw RangeError",
      ]);
      expect(await problemsOf(wrong({ a: 1 }))).toEqual(['event.subject: is a number, not a string']);
      expect(await problemsOf(placed({ order: '\0' }))).toEqual([
        'event.subject: holds a NUL, which Postgres cannot store',
      ]);
    });
  });

  test.for<[string, unknown[]]>([
    ['subject: is a string, not a function of the context', ['a', { subject: 'order/7' }]],
    ['type: is missing', []],
    ['type: is empty', ['']],
    ['type: is a number, not a string', [1]],
    ['type: holds a NUL, which Postgres cannot store', ['a\0']],
    ['type: holds a lone surrogate, which UTF-8 cannot express', ['\ud800']],
    ['type: is longer than 65535 bytes', ['x'.repeat(65_536)]],
    ['version: is not a whole number from 0 to 2^53 - 1, or as a bigint to 2^63 - 1', ['a', { version: 1.5 }]],
    ['version: is not a whole number from 0 to 2^53 - 1, or as a bigint to 2^63 - 1', ['a', { version: -1 }]],
    ['version: is a string, not a number or a bigint', ['a', { version: '1' }]],
    ['version: is null, not a number or a bigint', ['a', { version: null }]],
    ['schema: is null, not a validator of https://standardschema.dev, version 1', ['a', { schema: null }]],
    ['schema: is an object, not a validator of https://standardschema.dev, version 1', ['a', { schema: {} }]],
    [
      'schema: is an object, not a validator of https://standardschema.dev, version 1',
      ['a', { schema: { '~standard': { version: 2, validate: () => ({}) } } }],
    ],
    ['options: is a number, not an object', ['a', 1]],
    ['options.vesion: is not a field of defineEvent: did you mean version?', ['a', { vesion: 1 }]],
  ])('it throws at once: %s', ([problem, args]) => {
    expect(refusal(...args)).toEqual([problem]);
  });

  test('it throws with all problems', () => {
    expect(refusal('', { version: Number.NaN, schema: 1, payload: 1 })).toHaveLength(4);
  });
});

describe('an event of a definition', () => {
  const placed = defineEvent('order.placed', { schema: z.object({ n: z.number() }), version: 2 });

  test('it keeps its definition in a spread copy, but not in a structured clone', async () => {
    expect(await stored({ ...placed({ n: 1 }), environment: 'x' })).toEqual({ n: 1 });
    expect(await problemsOf({ ...placed({ n: 1 }), context: {} })).toHaveLength(1);
    // a clone is an event without a definition, so nothing validates it
    expect(await stored({ ...structuredClone(placed({ n: 1 })), context: {} })).toEqual({});
  });

  test('emitEvent rejects it when its type or version differs from its definition', async () => {
    expect(await problemsOf({ ...placed({ n: 1 }), type: 'other', metadataVersion: 3 })).toEqual([
      'event.type: is not that of its definition',
      'event.metadataVersion: is not that of its definition',
    ]);
    const options = { metadataVersion: undefined, enviroment: 'x' } as object;
    expect(await problemsOf(placed({ n: 1 }, options))).toEqual([
      'event.enviroment: is not a field of an event: did you mean environment?',
      'event.metadataVersion: is not that of its definition',
    ]);
  });

  test('emitEvent validates it before the call returns, so a later change is not stored', () => {
    const recorder = createRecorder();
    const context = { n: 1 };
    const done = emitEvent(recorder.transaction(), placed(context));
    expect(recorder.events).toHaveLength(1);
    context.n = 2;
    expect(recorder.events[0]?.context).toEqual({ n: 1 });
    return done;
  });
});
