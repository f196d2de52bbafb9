import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { EVENT_COLUMNS } from './event-columns.ts';
import { PgoutputDecoder } from './pgoutput.ts';
import * as wire from './messages.fixture.ts';
import { Recorder, type WireValue } from './messages.fixture.ts';

function decoderFor(...before: Buffer[]): {
  recorder: Recorder;
  decoder: PgoutputDecoder;
  decode: (message: Buffer) => boolean;
} {
  const recorder = new Recorder();
  const decoder = new PgoutputDecoder(recorder, wire.OUTBOX_OID);
  const decode = (message: Buffer): boolean => {
    // never at the beginning or the end of its buffer
    const around = Buffer.concat([Buffer.from('\0xx'), message, Buffer.from('yy\0')]);
    return decoder.decode(around, 3, 3 + message.length);
  };
  for (const message of before) decode(message);
  return { recorder, decoder, decode };
}

const inTransaction = [wire.relation(), wire.begin(100)];
const OTHER = { schema: 'public', name: 'orders', oid: 999 };

describe('PgoutputDecoder on the beginning of a large message', () => {
  test('wants the end of it only where it is about an event, or of a kind that it does not pass over', () => {
    const { decoder } = decoderFor(...inTransaction, wire.relation(EVENT_COLUMNS, OTHER));
    const isUnwanted = (message: Buffer): boolean => decoder.isUnwanted(message, 0, Math.min(message.length, 34));
    const large = wire.valuesOf(wire.event({ eventContext: JSON.stringify({ x: 'x'.repeat(100) }) }));
    expect(isUnwanted(wire.insert(large))).toBe(false);
    expect(isUnwanted(wire.insert(large, OTHER.oid))).toBe(true);
    expect(isUnwanted(wire.relation())).toBe(false);
    for (const type of 'DMOTUAY') expect(isUnwanted(Buffer.from(type.padEnd(100)))).toBe(true);
    expect(isUnwanted(Buffer.from('?'.padEnd(100)))).toBe(false);
  });
});

describe('PgoutputDecoder on a transaction', () => {
  test('reports begin with commit LSN and time, then the rows, then the end LSN', () => {
    const { recorder, decode } = decoderFor();
    const row = wire.event();
    for (const message of [
      wire.begin(0x16_b374_d848, 123_456_789n),
      wire.relation(),
      wire.insertEvent(row),
      wire.commit(0x16_b374_d848, 0x16_b374_d900),
    ]) {
      expect(decode(message)).toBe(true);
    }
    expect(recorder.changes).toEqual([
      { begin: 0x16_b374_d848, time: 123_456_789n },
      'relation',
      { row: wire.valuesOf(row) },
      { commit: 0x16_b374_d900 },
    ]);
  });

  test('has inTransaction true between begin and commit', () => {
    const decoder = new PgoutputDecoder(new Recorder(), wire.OUTBOX_OID);
    const states = [wire.begin(1), wire.relation(), wire.insertEvent(), wire.commit(1, 2)].map((message) => {
      decoder.decode(message, 0, message.length);
      return decoder.inTransaction;
    });
    expect(states).toEqual([true, true, true, false]);
  });

  test('decodes a refused row again to the same values', () => {
    const { recorder, decode } = decoderFor(...inTransaction);
    recorder.hasRoom = false;
    expect(decode(wire.insertEvent())).toBe(false);
    expect(decode(wire.insertEvent())).toBe(false);
    recorder.hasRoom = true;
    expect(decode(wire.insertEvent())).toBe(true);
    const values = wire.valuesOf(wire.event());
    expect(recorder.rows).toEqual([values, values, values]);
  });

  test('reports a repeated description of the table again, and uses its new order of columns', () => {
    const { recorder, decode } = decoderFor(...inTransaction);
    decode(wire.insertEvent());
    decode(wire.relation(EVENT_COLUMNS.toReversed()));
    decode(wire.insert(wire.valuesOf(wire.event()).toReversed()));
    expect(recorder.changes.filter((change) => change === 'relation')).toHaveLength(2);
    expect(recorder.rows[1]).toEqual(recorder.rows[0]);
  });
});

describe('PgoutputDecoder on values', () => {
  const text = fc.string({ unit: 'binary', maxLength: 300 });
  const anyEvent = fc.record({
    eventId: fc.uint8Array({ minLength: 16, maxLength: 16 }).map((bytes) => Buffer.from(bytes)),
    eventType: text,
    eventDateTime: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
    environment: text,
    eventContext: text,
    metadataVersion: fc.bigInt({ min: 0n, max: 2n ** 63n - 1n }),
    subject: fc.string(),
    traceparent: fc.option(text),
    recordedAt: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
    recordedBy: text,
  });
  const EXTRA = [
    { name: 'bucket', oid: 21 },
    { name: 'tracestate', oid: 25 },
    { name: '', oid: 1700 },
  ] as const;
  const extraValues: WireValue[] = [Buffer.of(0, 7), null, { text: '12.5' }];

  test('passes on any row whole, with and without traceparent, columns in any order and columns of the user among them', () => {
    const order = fc.shuffledSubarray([...[...EVENT_COLUMNS, ...EXTRA].keys()], {
      minLength: EVENT_COLUMNS.length + EXTRA.length,
    });
    fc.assert(
      fc.property(fc.array(anyEvent, { minLength: 1, maxLength: 3 }), order, (events, places) => {
        const columns = places.map((place) => [...EVENT_COLUMNS, ...EXTRA][place]!);
        const { recorder, decode } = decoderFor(wire.begin(1), wire.relation(columns));
        for (const row of events) {
          const values = [...wire.valuesOf(row), ...extraValues];
          decode(wire.insert(places.map((place) => values[place]!)));
        }
        expect(recorder.rows).toEqual(events.map(wire.valuesOf));
      }),
    );
  });

  test('accepts text columns in text form, as they come without a send function', () => {
    const { recorder, decode } = decoderFor(...inTransaction);
    const values = wire.valuesOf(wire.event());
    decode(wire.insert(values.map((value, slot) => (slot === 4 ? { text: '{"order":1}' } : value))));
    expect(recorder.rows).toEqual([values]);
  });

  test.each([
    [0, 'event_id'],
    [2, 'event_date_time'],
    [5, 'metadata_version'],
  ])('rejects column %d (%s) as text or of another width', (slot, name) => {
    const values = wire.valuesOf(wire.event());
    for (const wrong of [{ text: '2026-01-01 00:00:00+00' }, Buffer.alloc(0), Buffer.alloc(17)]) {
      const { recorder, decode } = decoderFor(...inTransaction);
      expect(() => decode(wire.insert(values.with(slot, wrong as Buffer)))).toThrow(
        expect.objectContaining({ code: 'OUTBOX_PROTOCOL', message: expect.stringContaining(name) }),
      );
      expect(recorder.rows).toEqual([]);
    }
  });
});

describe('PgoutputDecoder ignores', () => {
  test('rows of other tables: only the root’s relation counts', () => {
    const columns = [{ name: 'event_id', oid: 25 }];
    const { recorder, decode } = decoderFor(
      wire.relation(EVENT_COLUMNS, { oid: 998, schema: 'outbox', name: 'event_07' }),
      wire.relation(columns, OTHER),
      wire.relation(columns, { ...OTHER, oid: 997, name: 'event' }),
      wire.relation(columns, { ...OTHER, oid: 996, schema: 'outbox', name: 'events' }),
      ...inTransaction,
      wire.relation(EVENT_COLUMNS.toReversed(), { oid: 998, schema: 'outbox', name: 'event_07' }),
    );
    for (const oid of [996, 997, 999]) expect(decode(wire.insert([Buffer.from('x')], oid))).toBe(true);
    expect(decode(wire.insertEvent())).toBe(true);
    expect(recorder.changes).toEqual(['relation', { begin: 100, time: 0n }, { row: wire.valuesOf(wire.event()) }]);
  });

  test('no row under the name of a partition, or of a table that is described before one: it is an event', () => {
    const partition = wire.relation(EVENT_COLUMNS, { oid: 998, schema: 'outbox', name: 'event_07' });
    const { decode } = decoderFor(
      wire.relation(EVENT_COLUMNS, { oid: 997, schema: 'public', name: 'alike' }),
      ...inTransaction,
    );
    expect(decode(wire.insert([Buffer.from('x')], 997))).toBe(true);
    decode(wire.relation(EVENT_COLUMNS, { oid: 996, schema: 'public', name: 'above' }));
    decode(partition);
    expect(decode(wire.insert([Buffer.from('x')], 997))).toBe(true);
    for (const [oid, name] of [
      [996, 'public.above'],
      [998, 'outbox.event_07'],
    ] as const)
      expect(() => decode(wire.insert([Buffer.from('x')], oid))).toThrow(
        expect.objectContaining({ code: 'OUTBOX_PG_TABLE_CHANGED', message: expect.stringContaining(name) }),
      );
  });

  test('no row of a table that was not described: it may be the outbox', () => {
    const { decode } = decoderFor(...inTransaction);
    expect(() => decode(wire.insert([Buffer.from('x')], 1))).toThrow(
      expect.objectContaining({ code: 'OUTBOX_PROTOCOL', message: expect.stringContaining('OID 1)') }),
    );
  });

  test('the name of the table that has the outbox’s OID, and stops at another table of its name', () => {
    const { recorder, decode } = decoderFor(
      wire.relation(EVENT_COLUMNS, { name: 'event_old' }),
      ...inTransaction,
      wire.insertEvent(),
    );
    expect(recorder.rows).toHaveLength(1);
    expect(() => decode(wire.relation(EVENT_COLUMNS, { oid: 7 }))).toThrow(
      expect.objectContaining({ code: 'OUTBOX_PG_TABLE_CHANGED' }),
    );
  });

  test('truncate, logical messages, origins, types, updates, deletes and aborts, inside a transaction and outside', () => {
    const passing = [
      wire.truncate(wire.OUTBOX_OID, 7),
      wire.logicalMessage('prefix', Buffer.from('I am no insert')),
      wire.origin('elsewhere'),
      wire.typeDescription('public', 'mood'),
      Buffer.from('U'),
      Buffer.from('D'),
      Buffer.from('A'),
    ];
    const { recorder, decode } = decoderFor(wire.relation());
    for (const message of passing) expect(decode(message)).toBe(true);
    decode(wire.begin(1));
    for (const message of passing) expect(decode(message)).toBe(true);
    expect(recorder.changes).toEqual(['relation', { begin: 1, time: 0n }]);
  });
});

describe('PgoutputDecoder on an unsuitable table', () => {
  test.each(EVENT_COLUMNS.map((column, slot) => ({ ...column, slot })))(
    'throws OUTBOX_PG_TABLE_CHANGED and names $name when it is not published',
    ({ name, slot }) => {
      const { recorder, decode } = decoderFor();
      expect(() => decode(wire.relation(EVENT_COLUMNS.toSpliced(slot, 1)))).toThrow(
        expect.objectContaining({ code: 'OUTBOX_PG_TABLE_CHANGED', problems: [`${name} is not published`] }),
      );
      expect(recorder.changes).toEqual([]);
    },
  );

  test.each(EVENT_COLUMNS.map((column, slot) => ({ ...column, slot })))(
    'throws OUTBOX_PG_TABLE_CHANGED and names $name and the right type when its type is another',
    ({ name, type, slot }) => {
      const { decode } = decoderFor();
      // jsonb, integer and timestamp are among what looks alike
      for (const oid of [3802, 23, 1114, 1043])
        expect(() => decode(wire.relation(EVENT_COLUMNS.with(slot, { name, oid } as never)))).toThrow(
          expect.objectContaining({ code: 'OUTBOX_PG_TABLE_CHANGED', problems: [`${name} is not of type ${type}`] }),
        );
    },
  );

  test.each(EVENT_COLUMNS.filter(({ name }) => name !== 'traceparent'))(
    'throws OUTBOX_PG_TABLE_CHANGED and names $name when it is NULL in a row',
    ({ name }) => {
      const values = wire.valuesOf(wire.event());
      values[EVENT_COLUMNS.findIndex((column) => column.name === name)] = null;
      const { recorder, decode } = decoderFor(...inTransaction);
      expect(() => decode(wire.insert(values))).toThrow(
        expect.objectContaining({ code: 'OUTBOX_PG_TABLE_CHANGED', problems: [`${name} is NULL`] }),
      );
      expect(recorder.rows).toEqual([]);
    },
  );

  test('names every problem at once', () => {
    const { decode } = decoderFor();
    const columns = [{ name: 'event_id', oid: 25 }, ...EVENT_COLUMNS.slice(2)];
    expect(() => decode(wire.relation(columns))).toThrow(
      expect.objectContaining({ problems: ['event_id is not of type uuid', 'event_type is not published'] }),
    );
  });
});
