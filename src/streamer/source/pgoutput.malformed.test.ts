import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { OutboxError } from '../../errors.ts';
import * as wire from './messages.fixture.ts';
import { Recorder } from './messages.fixture.ts';
import { PgoutputDecoder } from './pgoutput.ts';

function decoderAfter(...messages: readonly Buffer[]): PgoutputDecoder {
  const decoder = new PgoutputDecoder(new Recorder(), wire.OUTBOX_OID);
  for (const message of messages) decoder.decode(message, 0, message.length);
  return decoder;
}

const protocolError: unknown = expect.objectContaining({ name: 'OutboxError', code: 'OUTBOX_PROTOCOL' });
const inTransaction = [wire.relation(), wire.begin(100)];
const TRACEPARENT = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';

const MESSAGES: readonly { name: string; before: readonly Buffer[]; message: Buffer }[] = [
  { name: 'begin', before: [], message: wire.begin(100, 5n) },
  { name: 'commit', before: [wire.begin(100)], message: wire.commit(100, 200) },
  { name: 'relation', before: [], message: wire.relation() },
  { name: 'insert', before: inTransaction, message: wire.insertEvent({ traceparent: TRACEPARENT }) },
  { name: 'insert with a NULL', before: inTransaction, message: wire.insertEvent({ traceparent: null }) },
];
const UNREAD: readonly { name: string; message: Buffer }[] = [
  { name: 'truncate', message: wire.truncate(1, 2) },
  { name: 'logical message', message: wire.logicalMessage('p', Buffer.from('content')) },
  { name: 'origin', message: wire.origin('o') },
  { name: 'type', message: wire.typeDescription('public', 'mood') },
];

describe('PgoutputDecoder on messages that are cut off', () => {
  test.each(MESSAGES)('throws OUTBOX_PROTOCOL for a $name cut off after any byte', ({ before, message }) => {
    for (let length = 0; length < message.length; length++) {
      // as the last thing in its buffer, and with more behind it
      const cut = Buffer.from(message.subarray(0, length));
      expect(() => decoderAfter(...before).decode(cut, 0, length)).toThrow(protocolError);
      expect(() => decoderAfter(...before).decode(message, 0, length)).toThrow(protocolError);
    }
    expect(decoderAfter(...before).decode(message, 0, message.length)).toBe(true);
  });

  test.each(UNREAD)('ignores a $name of any length, because it does not read it', ({ message }) => {
    for (let length = 1; length <= message.length; length++)
      expect(decoderAfter().decode(message, 0, length)).toBe(true);
  });
});

describe('PgoutputDecoder on messages out of order', () => {
  test.each([
    ['an insert outside a transaction', [wire.relation()], wire.insertEvent()],
    ['an insert of another table outside a transaction', [wire.relation()], wire.insert([null], 1)],
    ['an insert after the commit', [...inTransaction, wire.commit(100, 200)], wire.insertEvent()],
    ['a begin inside a transaction', [wire.begin(1)], wire.begin(2)],
    ['a commit outside a transaction', [], wire.commit(1, 2)],
    ['a second commit', [wire.begin(1), wire.commit(1, 2)], wire.commit(1, 2)],
    ['a commit of another transaction', [wire.begin(1)], wire.commit(2, 3)],
    ['a commit that ends where it begins', [wire.begin(2)], wire.commit(2, 2)],
    ['a second begin of the same transaction', [wire.begin(1), wire.commit(1, 2)], wire.begin(1)],
    ['a begin of an earlier transaction', [wire.begin(5), wire.commit(5, 6)], wire.begin(4)],
  ])('throws OUTBOX_PROTOCOL for %s', (_, before, message) => {
    expect(() => decoderAfter(...before).decode(message, 0, message.length)).toThrow(protocolError);
  });
});

describe('PgoutputDecoder on bad contents', () => {
  test('throws OUTBOX_PROTOCOL for any unknown type of message, and names the type', () => {
    const known = new Set(Buffer.from('ABCDIMORTUY'));
    for (let type = 0; type < 256; type++) {
      if (known.has(type)) continue;
      const message = Buffer.from([type, ...Buffer.alloc(40)]);
      expect(() => decoderAfter(...inTransaction).decode(message, 0, message.length)).toThrow(
        expect.objectContaining({
          code: 'OUTBOX_PROTOCOL',
          message: expect.stringContaining(`0x${type.toString(16).padStart(2, '0')}`),
        }),
      );
    }
  });

  test.each([
    ['begin', [], (lsn: bigint) => wire.begin(lsn)],
    ['commit', [wire.begin(1)], (lsn: bigint) => wire.commit(1, lsn)],
  ] as const)('throws OUTBOX_PROTOCOL for an LSN above 2^53 − 1 in a %s', (_, before, build) => {
    const last = build(2n ** 53n - 1n);
    expect(decoderAfter(...before).decode(last, 0, last.length)).toBe(true);
    for (const lsn of [2n ** 53n, 2n ** 63n - 1n, -1n]) {
      const message = build(lsn);
      expect(() => decoderAfter(...before).decode(message, 0, message.length)).toThrow(protocolError);
    }
  });

  test.each([
    ['too few columns', wire.insert(wire.valuesOf(wire.event()).slice(1))],
    ['too many columns', wire.insert([...wire.valuesOf(wire.event()), null])],
    ['an unchanged TOAST value, which no insert has', wire.insert(Array<'unchanged'>(7).fill('unchanged'))],
    ['an old tuple', Buffer.from(wire.insertEvent()).fill('O', 5, 6)],
  ])('throws OUTBOX_PROTOCOL for a row with %s', (_, message) => {
    expect(() => decoderAfter(...inTransaction).decode(message, 0, message.length)).toThrow(protocolError);
  });

  test('repeats nothing of the row in an error (invariant 10)', () => {
    const canary = 'canary-7f3a';
    const message = wire.insertEvent({ eventType: canary, environment: canary, eventContext: canary });
    for (let length = 1; length < message.length; length++) {
      expect(() => decoderAfter(...inTransaction).decode(message, 0, length)).toThrow(
        expect.toSatisfy((error: Error) => !String(error.stack).includes('canary')),
      );
    }
  });
});

test('PgoutputDecoder decodes mutated messages harmlessly, or throws an OutboxError of a known code', () => {
  const mutation = fc.record({
    at: fc.nat(),
    byte: fc.oneof(fc.nat({ max: 255 }), fc.constantFrom(0, 0x7f, 0x80, 0xff)),
  });
  fc.assert(
    fc.property(
      fc.array(
        fc.record({ which: fc.nat(), mutations: fc.array(mutation, { maxLength: 4 }), cut: fc.nat({ max: 20 }) }),
        {
          minLength: 1,
          maxLength: 8,
        },
      ),
      (steps) => {
        const all = [...MESSAGES, ...UNREAD];
        const recorder = new Recorder();
        const decoder = new PgoutputDecoder(recorder, wire.OUTBOX_OID);
        let thrown: unknown;
        try {
          for (const { which, mutations, cut } of steps) {
            const message = Buffer.from(all[which % all.length]!.message);
            for (const { at, byte } of mutations) message[at % message.length] = byte;
            decoder.decode(message, 0, Math.max(1, message.length - Math.max(0, cut - 10)));
          }
        } catch (error) {
          thrown = error;
        }
        expect([undefined, 'OUTBOX_PROTOCOL', 'OUTBOX_PG_TABLE_CHANGED']).toContain(
          thrown instanceof OutboxError ? thrown.code : thrown,
        );
        // the values of a decoded row lie inside their message
        for (const row of recorder.rows) for (const value of row) expect(value?.length ?? 0).toBeLessThan(400);
      },
    ),
    { numRuns: 3000 },
  );
});
