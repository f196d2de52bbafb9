import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { emitEvent, emitEvents } from '../emit.ts';
import { insertMany, insertOne, rowsIn, type StoredRow } from '../statement.ts';
import { createRecorder, type RecorderTransaction } from './recorder.ts';

const EVENT = { type: 'a', context: {} };

function types(recorder: ReturnType<typeof createRecorder>): string[] {
  return recorder.events.map(({ type }) => type);
}

test('createRecorder records every event as it was emitted, by emitEvent and by emitEvents', async () => {
  // characters with a meaning in an array literal, in lines or in JSON
  const unit = fc.constantFrom('a', '"', '\\', '{', '}', ',', '\n', "'", 'ü', '😀', '\u2028');
  const texts = fc.string({ unit, minLength: 1 });
  const event = fc.record({
    type: texts,
    environment: texts,
    context: fc.dictionary(
      texts,
      fc.oneof(texts, fc.double({ noNaN: true, noDefaultInfinity: true }), fc.constant('\0')),
    ),
    time: fc.date({ min: new Date('1900-01-01'), max: new Date('2299-12-31'), noInvalidDate: true }),
    id: fc.uuid(),
    metadataVersion: fc.oneof(fc.nat(), fc.bigInt({ min: 2n ** 53n, max: 2n ** 63n - 1n })),
    subject: texts,
  });
  await fc.assert(
    fc.asyncProperty(fc.array(event, { maxLength: 4 }), async (events) => {
      const recorder = createRecorder();
      const tx = recorder.transaction();
      await emitEvents(tx, events);
      for (const one of events) await emitEvent(tx, one);
      const expected = events.map((one) => ({
        ...one,
        context: JSON.parse(JSON.stringify(one.context)) as unknown,
        traceparent: null,
      }));
      expect(recorder.events).toEqual([...expected, ...expected]);
    }),
  );
});

test('rowsIn reads all rows and their trace back from both INSERTs, and gives undefined for other SQL', () => {
  const trace = { traceparent: `00-${'1'.repeat(32)}-${'2'.repeat(16)}-01`, tracestate: 'a=b' };
  const row = (type: string): StoredRow => ({
    id: '0af76519-16cd-43dd-8448-eb211c80319c',
    type,
    time: '2026-01-02T03:04:05.678Z',
    environment: '{"a\\\\,',
    context: '{"a":"{}\\n"}',
    metadataVersion: 3,
    subject: 'order/"7"',
    ...trace,
  });
  const expected = [row('a'), row('b'), row('"\\\n"')];
  const rows = expected.map((stored) => ({ ...stored, bytes: 12 }));
  const one = insertOne(rows[0]!, trace);
  expect(rowsIn(one.text, one.values)).toEqual([expected[0]]);
  const many = insertMany(rows, trace);
  expect(rowsIn(many.text, many.values)).toEqual(expected);
  expect(rowsIn('SELECT 1', one.values)).toBeUndefined();
});

describe('a transaction of the recorder', () => {
  test('it keeps its events when the callback resolves, and drops them when it rejects', async () => {
    const recorder = createRecorder();
    const result = await recorder.transaction(async (tx) => emitEvent(tx, { ...EVENT, type: 'kept' }));
    expect(recorder.events[0]?.id).toBe(result);
    const error = new Error('on purpose');
    const failing = recorder.transaction(async (tx) => {
      await emitEvents(tx, [EVENT, EVENT]);
      expect(types(recorder)).toEqual(['kept', 'a', 'a']);
      throw error;
    });
    await expect(failing).rejects.toBe(error);
    expect(types(recorder)).toEqual(['kept']);
  });

  test('its rollback drops its own events and no others', async () => {
    const recorder = createRecorder();
    const [one, two] = [recorder.transaction(), recorder.transaction()];
    await emitEvent(one, { ...EVENT, type: 'one' });
    await emitEvent(two, { ...EVENT, type: 'two' });
    await emitEvent(one, { ...EVENT, type: 'one' });
    one.rollback();
    expect(types(recorder)).toEqual(['two']);
    recorder.clear();
    expect(types(recorder)).toEqual([]);
  });

  test.for<[string, (tx: RecorderTransaction) => void]>([
    ['committed', (tx) => tx.commit()],
    ['rolled back', (tx) => tx.rollback()],
  ])('it rejects events after it was %s', async ([, end]) => {
    const recorder = createRecorder();
    const tx = recorder.transaction();
    end(tx);
    await expect(emitEvent(tx, EVENT)).rejects.toMatchObject({ code: 'OUTBOX_NO_TRANSACTION' });
    let kept: RecorderTransaction | undefined;
    await recorder.transaction(async (own) => {
      kept = own;
    });
    await expect(emitEvents(kept!, [EVENT])).rejects.toMatchObject({ code: 'OUTBOX_NO_TRANSACTION' });
    expect(recorder.events).toEqual([]);
  });

  test('it rejects an invalid event, as a real transaction does', async () => {
    const recorder = createRecorder();
    const bad = emitEvent(recorder.transaction(), { type: '', context: { a: 1n } });
    await expect(bad).rejects.toMatchObject({ problems: ['event.type: is empty', 'event.context.a: is a bigint'] });
    expect(recorder.events).toEqual([]);
  });

  test('it rejects any other SQL', async () => {
    const tx = createRecorder().transaction();
    await expect(tx.query('SELECT $1', ['canary'])).rejects.toMatchObject({ code: 'OUTBOX_TEST_UNSUPPORTED' });
  });
});
