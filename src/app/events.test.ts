import * as fc from 'fast-check';
import { inspect } from 'node:util';
import { describe, expect, expectTypeOf, test } from 'vitest';
import { OutboxError } from '../errors.ts';
import { DEFINITION, type EventContext } from './define.ts';
import { type OutboxEvent, rowOf, rowsOf } from './events.ts';
import { createOutbox } from './outbox.ts';
import { readSettings, type Settings } from './settings.ts';

const SETTINGS: Settings = {
  schema: 'outbox',
  environment: 'test',
  maxEventBytes: 1000,
  now: '2026-01-02T03:04:05.678Z',
};

function caught(run: () => unknown): OutboxError {
  try {
    run();
  } catch (error) {
    if (error instanceof OutboxError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}

/** Whatever JavaScript callers and casts can pass. */
function problemsOf(event: unknown): readonly string[] {
  const error = caught(() => rowOf(event as OutboxEvent, SETTINGS));
  expect(error.code).toBe('OUTBOX_EVENT_INVALID');
  return error.problems;
}

describe('rowOf, for a valid event', () => {
  test('it fills in the defaults', () => {
    expect(rowOf({ type: 'order.placed', context: { a: 1 } }, SETTINGS)).toEqual({
      id: expect.stringMatching(/^[0-9a-f-]{36}$/),
      type: 'order.placed',
      time: SETTINGS.now,
      environment: 'test',
      context: '{"a":1}',
      metadataVersion: 1,
      subject: '',
      bytes: 7,
    });
  });

  test('it keeps the given values, and writes the id in lower case', () => {
    const event: OutboxEvent = {
      type: 'ü',
      context: {},
      id: '0AF76519-16CD-43DD-8448-EB211C80319C',
      time: new Date('1900-01-01T00:00:00Z'),
      environment: '',
      metadataVersion: 0,
    };
    expect(rowOf(event, SETTINGS)).toMatchObject({
      id: '0af76519-16cd-43dd-8448-eb211c80319c',
      time: '1900-01-01T00:00:00.000Z',
      environment: '',
      metadataVersion: 0,
    });
  });

  test('it treats an undefined field as a missing one', () => {
    const event = { type: 'a', context: {}, id: undefined, time: undefined, environment: undefined };
    expect(rowOf({ ...event, metadataVersion: undefined }, SETTINGS).metadataVersion).toBe(1);
  });

  test.for(['1900-01-01T00:00:00.000Z', '2299-12-31T23:59:59.999Z'])('it accepts the time %s', (time) => {
    expect(rowOf({ type: 'a', context: {}, time: new Date(time) }, SETTINGS).time).toBe(time);
  });

  test('it accepts any well-formed type of up to 65,535 bytes without NUL', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', minLength: 1 }), (type) => {
        fc.pre(!type.includes('\0') && type.isWellFormed());
        expect(rowOf({ type, context: {} }, SETTINGS).type).toBe(type);
      }),
    );
    expect(rowOf({ type: 'x'.repeat(65_535), context: {} }, SETTINGS).type).toHaveLength(65_535);
  });
});

describe('rowOf, for an invalid event', () => {
  test.for<[string, Record<string, unknown>]>([
    ['event.type: is missing', { type: undefined }],
    ['event.type: is null, not a string', { type: null }],
    ['event.type: is a number, not a string', { type: 1 }],
    ['event.type: is empty', { type: '' }],
    ['event.type: holds a NUL, which Postgres cannot store', { type: 'a\0b' }],
    ['event.type: holds a lone surrogate, which UTF-8 cannot express', { type: '\ud800' }],
    ['event.type: is longer than 65535 bytes', { type: 'x'.repeat(65_536) }],
    ['event.type: is longer than 65535 bytes', { type: '€'.repeat(21_846) }],
    ['event.context: is missing', { context: undefined }],
    ['event.context.a: is NaN', { context: { a: Number.NaN } }],
    ['event.context: is larger than 1000 bytes (OUTBOX_MAX_EVENT_BYTES)', { context: { a: 'x'.repeat(1000) } }],
    ['event.id: is a number, not a UUID', { id: 1 }],
    ['event.id: is null, not a UUID', { id: null }],
    ['event.id: is not a UUID of the form 8-4-4-4-12', { id: '0af7651916cd43dd8448eb211c80319c' }],
    ['event.id: is not a UUID of the form 8-4-4-4-12', { id: '{0af76519-16cd-43dd-8448-eb211c80319c}' }],
    ['event.id: is not a UUID of the form 8-4-4-4-12', { id: '0af76519-16cd-43dd-8448-eb211c80319c\n' }],
    ['event.time: is a string, not a Date', { time: '2026-01-01' }],
    ['event.time: is a number, not a Date', { time: 0 }],
    ['event.time: is an invalid Date', { time: new Date(Number.NaN) }],
    ['event.time: is outside 1900-01-01 to 2299-12-31', { time: new Date('1899-12-31T23:59:59.999Z') }],
    ['event.time: is outside 1900-01-01 to 2299-12-31', { time: new Date('2300-01-01T00:00:00Z') }],
    ['event.environment: is a number, not a string', { environment: 1 }],
    ['event.environment: holds a NUL, which Postgres cannot store', { environment: '\0' }],
    ['event.environment: holds a lone surrogate, which UTF-8 cannot express', { environment: 'a\udc00' }],
    ['event.environment: is longer than 65535 bytes', { environment: 'x'.repeat(65_536) }],
    ['event.metadataVersion: is a string, not a number or a bigint', { metadataVersion: '1' }],
    [
      'event.metadataVersion: is not a whole number from 0 to 2^53 - 1, or as a bigint to 2^63 - 1',
      { metadataVersion: -1 },
    ],
    [
      'event.metadataVersion: is not a whole number from 0 to 2^53 - 1, or as a bigint to 2^63 - 1',
      { metadataVersion: 1.5 },
    ],
    [
      'event.metadataVersion: is not a whole number from 0 to 2^53 - 1, or as a bigint to 2^63 - 1',
      { metadataVersion: Number.NaN },
    ],
    [
      'event.metadataVersion: is not a whole number from 0 to 2^53 - 1, or as a bigint to 2^63 - 1',
      { metadataVersion: 2 ** 53 },
    ],
    [
      'event.metadataVersion: is not a whole number from 0 to 2^53 - 1, or as a bigint to 2^63 - 1',
      { metadataVersion: 2n ** 63n },
    ],
    ['event.subject: is a number, not a string', { subject: 7 }],
    ['event.subject: holds a NUL, which Postgres cannot store', { subject: 'a\0' }],
    ['event.subject: is longer than 65535 bytes', { subject: 'x'.repeat(65_536) }],
    ['event.enviroment: is not a field of an event: did you mean environment?', { enviroment: 'x' }],
    ['event.metadata_version: is not a field of an event: did you mean metadataVersion?', { metadata_version: 1 }],
    [
      'event.payload: is not a field of an event; the fields are type, context, id, time, environment, subject, metadataVersion',
      { payload: {} },
    ],
  ])('it throws: %s', ([problem, fields]) => {
    expect(problemsOf({ type: 'a', context: {}, ...fields })).toEqual([problem]);
  });

  test.for([undefined, null, 'x', 1, [], () => 1])('it throws for an event that is no object: %s', (event) => {
    expect(problemsOf(event)).toEqual([expect.stringMatching(/^event: is .*, not an event: an object with type/)]);
  });
});

test('rowsOf throws one error that names all problems of all events, without a value', () => {
  const events: unknown[] = [
    { type: 'ok', context: {} },
    {
      type: '',
      context: null,
      id: 'canary-id',
      time: 'canary-time',
      environment: 1,
      metadataVersion: 'canary-version',
    },
    { type: 'a\0canary', context: { a: { b: Number.NaN }, secret: 'canary' }, oder: 'canary' },
  ];
  const error = caught(() => rowsOf(events as OutboxEvent[], SETTINGS));
  expect(error.problems).toEqual([
    'events[1].type: is empty',
    'events[1].context: is null, not an object',
    'events[1].id: is not a UUID of the form 8-4-4-4-12',
    'events[1].time: is a string, not a Date',
    'events[1].environment: is a number, not a string',
    'events[1].metadataVersion: is a string, not a number or a bigint',
    expect.stringMatching(/^events\[2\]\.oder: is not a field/),
    'events[2].type: holds a NUL, which Postgres cannot store',
    'events[2].context.a.b: is NaN',
  ]);
  expect(inspect(error, { depth: null }) + JSON.stringify(error)).not.toContain('canary');
});

test('rowsOf throws when all events together are larger than one INSERT takes', () => {
  const settings = { ...SETTINGS, maxEventBytes: 64 * 1024 * 1024 };
  const half = { type: 'a', context: { a: 'x'.repeat(32 * 1024 * 1024) } };
  const error = caught(() => rowsOf([half, half], settings));
  expect(error.code).toBe('OUTBOX_EVENT_INVALID');
  expect(error.problems).toEqual(['events: are larger than 64 MiB together: emit them by several calls']);
});

test('a definition of null counts as none, for rowOf and for createOutbox', () => {
  const event = { type: 'a', context: {}, [DEFINITION]: null } as unknown as OutboxEvent;
  expect(rowOf(event, SETTINGS).type).toBe('a');
  expect(caught(() => rowOf(event, SETTINGS, { accepted: new Set() })).problems).toHaveLength(1);
  const definition = Object.assign(() => event, { [DEFINITION]: null }) as never;
  expect(caught(() => createOutbox({ events: [definition] })).problems).toEqual([
    'events[0]: is a function, not a definition made by defineEvent',
  ]);
});

test('rowsOf throws for a hole in the array, and for a value that is no array', () => {
  // oxlint-disable-next-line no-sparse-arrays -- the hole is the case
  expect(caught(() => rowsOf([,] as unknown as OutboxEvent[], SETTINGS)).problems).toEqual([
    'events[0]: is undefined, not an event: an object with type and context',
  ]);
  expect(caught(() => rowsOf(new Set() as unknown as OutboxEvent[], SETTINGS)).problems).toEqual([
    'events: is an instance of Set, not an array',
  ]);
});

describe('readSettings', () => {
  test('it uses defaults for variables that are not set', () => {
    expect(readSettings({})).toMatchObject({ environment: '', maxEventBytes: 16_777_216 });
    expect(readSettings({ OUTBOX_ENVIRONMENT: 'live', OUTBOX_MAX_EVENT_BYTES: '10' })).toMatchObject({
      environment: 'live',
      maxEventBytes: 10,
    });
  });

  test.for(['0', '-1', '1.5', '1e6', '16MB', ' 1', '67108865'])('it throws for OUTBOX_MAX_EVENT_BYTES=%s', (value) => {
    const error = caught(() => readSettings({ OUTBOX_MAX_EVENT_BYTES: value }));
    expect(error.code).toBe('OUTBOX_CONFIG_INVALID');
    expect(error.problems).toEqual(['OUTBOX_MAX_EVENT_BYTES: is not a whole number from 1 to 67108864']);
  });
});

test('the types accept any object as context, and reject arrays, collections and unknown fields', () => {
  interface Placed {
    orderId: string;
  }
  expectTypeOf<Placed>().toExtend<EventContext>();
  expectTypeOf<{ readonly a?: number }>().toExtend<EventContext>();
  expectTypeOf<Record<string, unknown>>().toExtend<EventContext>();
  expectTypeOf<string[]>().not.toExtend<EventContext>();
  expectTypeOf<Map<string, string>>().not.toExtend<EventContext>();
  expectTypeOf<string>().not.toExtend<EventContext>();
  expectTypeOf<null>().not.toExtend<EventContext>();
  // @ts-expect-error -- a typo
  const typo: OutboxEvent = { type: 'a', context: {}, enviroment: 'x' };
  // @ts-expect-error -- no context
  const bare: OutboxEvent = { type: 'a' };
  expect([typo, bare]).toHaveLength(2);
});
