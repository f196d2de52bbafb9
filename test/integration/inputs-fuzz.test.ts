import * as fc from 'fast-check';
import { beforeAll, expect, test } from 'vitest';
import { OutboxError } from '../../src/errors.ts';
import { FRAME_HEADER_BYTES, FrameReader } from '../../src/streamer/source/frames.ts';
import { Recorder } from '../../src/streamer/source/messages.fixture.ts';
import { Field } from '../../src/streamer/source/event-columns.ts';
import { PgoutputDecoder } from '../../src/streamer/source/pgoutput.ts';
import { Outbox } from '../support/outbox.ts';
import { Proxy } from '../support/proxy.ts';
import { eventually } from '../support/wait.ts';

const XLOG_HEADER_BYTES = 25;
const EVENTS = 60;

/** What a walsender sent from CopyBothResponse on, and where its messages begin. */
let outboxOid: number;
let recording: Buffer;
let starts: number[];

beforeAll(async () => {
  await using outbox = await Outbox.create();
  outboxOid = await outbox.eventOid();
  const { proxy, url } = await Proxy.to(new URL(outbox.databaseUrl));
  const said: Buffer[] = [];
  proxy.answers = (chunk, requests) => {
    if (requests.includes('START_REPLICATION')) said.push(chunk);
    return chunk;
  };
  const streamer = outbox.stream({ DATABASE_URL: url });
  await streamer.attached();
  for (const size of [1, 9, 20]) await outbox.fill(size);
  await outbox.postgres.query('ALTER TABLE outbox.event ADD COLUMN mine text; CREATE TABLE other (n int)');
  await outbox.postgres.query(`
    BEGIN;
    INSERT INTO outbox.event (event_type, event_context, traceparent)
    SELECT 'wide', json_build_object('pad', repeat('ü', n * 10)), '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
      FROM generate_series(1, 30) n;
    INSERT INTO other VALUES (1);
    COMMIT`);
  await eventually('all is recorded', () => Buffer.concat(said).toString('latin1').split('"pad"').length === 31);
  await outbox.untilDelivered(EVENTS);
  await streamer.stop();
  await proxy.close();
  recording = Buffer.concat(said);
  starts = [];
  for (let at = 0; at < recording.length; at += 1 + recording.readUInt32BE(at + 1)) starts.push(at);
});

interface Outcome {
  readonly rows: (Buffer | null)[][];
  readonly thrown: unknown;
}

/** Reads a stream as the replication connection does. */
function read(stream: Buffer, chunkBytes = 65_536): Outcome {
  const recorder = new Recorder();
  const decoder = new PgoutputDecoder(recorder, outboxOid);
  const frames = new FrameReader((type, buffer, start, end) => {
    const at = start + FRAME_HEADER_BYTES;
    const isData = type === 0x64 && buffer[at] === 0x77 && end - at > XLOG_HEADER_BYTES;
    return isData ? decoder.decode(buffer, at + XLOG_HEADER_BYTES, end) : true;
  });
  try {
    for (let at = 0; at < stream.length; at += chunkBytes) frames.push(stream.subarray(at, at + chunkBytes));
    return { rows: recorder.rows, thrown: undefined };
  } catch (thrown) {
    return { rows: recorder.rows, thrown };
  }
}

test('the decoder reads the whole recording, however it is cut into chunks', () => {
  for (const chunkBytes of [1, 7, 100, 65_536]) {
    const { rows, thrown } = read(recording, chunkBytes);
    expect(thrown).toBeUndefined();
    expect(rows).toHaveLength(EVENTS);
    expect(rows.at(-1)![Field.eventContext]!.toString()).toBe(`{"pad" : "${'ü'.repeat(300)}"}`);
  }
});

type Mutation = (stream: Buffer) => Buffer;

const place = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
const at = (share: number, of: Buffer): number => Math.floor(share * of.length);
const message = (share: number): number => starts[Math.floor(share * starts.length)]!;

const mutation: fc.Arbitrary<Mutation> = fc.oneof(
  fc.tuple(place, fc.nat({ max: 7 })).map(([where, bit]): Mutation => (stream) => {
    const copy = Buffer.from(stream);
    if (copy.length > 0) copy[at(where, copy)]! ^= 1 << bit;
    return copy;
  }),
  fc.tuple(place, fc.uint8Array({ minLength: 1, maxLength: 16 })).map(([where, bytes]): Mutation => (stream) => {
    const copy = Buffer.from(stream);
    Buffer.from(bytes).copy(copy, at(where, copy));
    return copy;
  }),
  place.map(
    (where): Mutation =>
      (stream) =>
        stream.subarray(0, at(where, stream)),
  ),
  // a part is cut out, or inserted elsewhere a second time
  fc.tuple(place, fc.nat({ max: 300 })).map(([where, bytes]): Mutation => (stream) => {
    const from = at(where, stream);
    return Buffer.concat([stream.subarray(0, from), stream.subarray(from + bytes)]);
  }),
  fc.tuple(place, fc.nat({ max: 300 }), place).map(([where, bytes, there]): Mutation => (stream) => {
    const part = stream.subarray(at(where, stream), at(where, stream) + bytes);
    const to = at(there, stream);
    return Buffer.concat([stream.subarray(0, to), part, stream.subarray(to)]);
  }),
  // the same with whole messages
  fc.tuple(place, place, place).map(([from, to, there]): Mutation => (stream) => {
    const [first, last] = [message(from), message(to)].toSorted((a, b) => a - b) as [number, number];
    const part = recording.subarray(first, last);
    return Buffer.concat([stream.subarray(0, message(there)), part, stream.subarray(message(there))]);
  }),
  // the length of a message, or what may be one within it
  fc
    .tuple(place, fc.nat({ max: 60 }), fc.oneof(fc.nat({ max: 0xffff_ffff }), fc.constantFrom(0, 3, 4, 0x7fff_ffff)))
    .map(([where, offset, value]): Mutation => (stream) => {
      const copy = Buffer.from(stream);
      const to = message(where) + offset;
      if (to + 4 <= copy.length) copy.writeUInt32BE(value, to);
      return copy;
    }),
);

test('the decoder turns a mutated recording into a known OutboxError, or into no more bytes than it holds', () => {
  const outcomes = { read: 0, refused: 0 };
  fc.assert(
    fc.property(
      fc.array(mutation, { minLength: 1, maxLength: 4 }),
      fc.constantFrom(13, 1000, 65_536),
      (mutations, chunkBytes) => {
        const stream = mutations.reduce((mutated, mutate) => mutate(mutated), recording);
        const { rows, thrown } = read(stream, chunkBytes);
        if (thrown === undefined) outcomes.read++;
        else outcomes.refused++;
        expect(['OUTBOX_PROTOCOL', 'OUTBOX_PG_TABLE_CHANGED', undefined]).toContain(
          thrown instanceof OutboxError ? thrown.code : thrown,
        );
        const bytes = rows.flat().reduce((sum, value) => sum + (value?.length ?? 0), 0);
        expect(bytes).toBeLessThanOrEqual(stream.length);
      },
    ),
    { numRuns: 8000 },
  );
  // the mutations lead to both outcomes
  expect(outcomes.refused).toBeGreaterThan(2000);
  expect(outcomes.read).toBeGreaterThan(300);
});
