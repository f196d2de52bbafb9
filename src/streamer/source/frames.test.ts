import * as fc from 'fast-check';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { OutboxError } from '../../errors.ts';
import { FRAME_HEADER_BYTES, FrameReader, type FrameFilter } from './frames.ts';
import { frame } from './messages.fixture.ts';

interface Message {
  readonly type: string;
  /** latin1: compared faster than bytes */
  readonly payload: string;
}

const latin1 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('latin1');
const message: fc.Arbitrary<Message> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      type: fc.constantFrom('d', 'c', 'W', 'Z', 'E', 'N', 'C', 'S'),
      payload: fc.uint8Array({ maxLength: 60 }).map(latin1),
    }),
  },
  // larger than the carry that is kept for usual messages
  {
    weight: 1,
    arbitrary: fc.record({
      type: fc.constantFrom('d', 'E', 'N'),
      payload: fc.integer({ min: 1, max: 200_000 }).map((length) => latin1(new Uint8Array(length).fill(length))),
    }),
  },
);
const messages = fc.array(message, { maxLength: 30 });

const bytesOf = (all: readonly Message[]): Buffer =>
  Buffer.concat(all.map(({ type, payload }) => frame(type, Buffer.from(payload, 'latin1'))));

/** Copies of the chunks between random places of the stream, empty ones among them. */
function split(stream: Buffer, places: readonly number[]): Buffer[] {
  const cuts = places.map((place) => place % (stream.length + 1)).toSorted((a, b) => a - b);
  return [0, ...cuts].map((from, i) => Buffer.from(stream.subarray(from, cuts[i] ?? stream.length)));
}

function reader(
  accept: (seen: Message) => boolean = () => true,
  isUnwanted?: FrameFilter,
): { frames: FrameReader; taken: Message[] } {
  const taken: Message[] = [];
  const frames = new FrameReader((type, buffer, start, end) => {
    expect(buffer[start]).toBe(type);
    const seen = {
      type: String.fromCharCode(type),
      payload: buffer.toString('latin1', start + FRAME_HEADER_BYTES, end),
    };
    if (!accept(seen)) return false;
    taken.push(seen);
    return true;
  }, isUnwanted);
  return { frames, taken };
}

afterEach(() => void vi.restoreAllMocks());

describe('FrameReader on a stream in pieces', () => {
  test('yields the same messages however the stream is split, and needs no chunk after its push', () => {
    fc.assert(
      fc.property(messages, fc.array(fc.nat(), { maxLength: 40 }), (all, places) => {
        const { frames, taken } = reader();
        for (const chunk of split(bytesOf(all), places)) {
          frames.push(chunk);
          chunk.fill(0xee);
        }
        expect(taken).toEqual(all);
        expect(frames.isStopped).toBe(false);
      }),
    );
  });

  test('yields the same messages when the stream comes byte by byte', () => {
    fc.assert(
      fc.property(fc.array(message, { maxLength: 4 }), (all) => {
        const { frames, taken } = reader();
        for (const byte of bytesOf(all).subarray(0, 2000)) frames.push(Buffer.of(byte));
        expect(taken).toEqual(all.slice(0, taken.length));
        expect(bytesOf(all.slice(0, taken.length + 1)).length > 2000 || taken.length === all.length).toBe(true);
      }),
      { numRuns: 30 },
    );
  });

  test('does not copy a message that lies whole in its chunk', () => {
    const chunk = bytesOf([
      { type: 'd', payload: 'x'.repeat(10) },
      { type: 'd', payload: 'y'.repeat(50_000) },
    ]);
    const copy = vi.spyOn(Buffer.prototype, 'copy');
    const buffers = new Set<Buffer>();
    new FrameReader((_type, buffer) => {
      buffers.add(buffer);
      return true;
    }).push(chunk);
    expect([...buffers]).toEqual([chunk]);
    expect(copy).not.toHaveBeenCalled();
  });
});

describe('FrameReader when messages are refused', () => {
  test('loses, duplicates and reorders nothing, also when they are refused again or more chunks come meanwhile', () => {
    fc.assert(
      fc.property(
        messages,
        fc.array(fc.nat(), { maxLength: 40 }),
        fc.array(fc.boolean(), { maxLength: 80 }),
        fc.array(fc.boolean(), { maxLength: 80 }),
        (all, places, accepts, resumes) => {
          const answers = accepts.values();
          const offered: Message[] = [];
          const { frames, taken } = reader((seen) => {
            // what is offered is always the first that was not taken
            expect(seen).toEqual(all[taken.length]);
            offered.push(seen);
            return answers.next().value ?? true;
          });
          const turns = resumes.values();
          for (const chunk of split(bytesOf(all), places)) {
            frames.push(chunk);
            chunk.fill(0xee);
            const isEmpty = (turns.next().value ?? true) ? frames.resume() : !frames.isStopped;
            expect(isEmpty).toBe(!frames.isStopped);
          }
          for (let i = 0; i <= accepts.length && !frames.resume(); i++) expect(frames.isStopped).toBe(true);
          expect(frames.isStopped).toBe(false);
          expect(taken).toEqual(all);
          expect(offered.length).toBeGreaterThanOrEqual(taken.length);
        },
      ),
      { numRuns: 300 },
    );
  });

  test('offers nothing behind a message that waits', () => {
    const all = ['d', 'c', 'Z'].map((type) => ({ type, payload: type }));
    let open = false;
    const offered: string[] = [];
    const { frames, taken } = reader((seen) => {
      offered.push(seen.type);
      return open || seen.type !== 'c';
    });
    frames.push(bytesOf(all));
    frames.push(bytesOf(all));
    expect(offered).toEqual(['d', 'c']);
    expect(frames.resume()).toBe(false);
    expect(offered).toEqual(['d', 'c', 'c']);
    open = true;
    expect(frames.resume()).toBe(true);
    expect(taken).toEqual([...all, ...all]);
  });
});

describe('FrameReader on lengths', () => {
  test.each([0, 1, 2, 3, 0x4000_0000, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff])(
    'throws OUTBOX_PROTOCOL for a header that claims %d bytes, whole or in pieces',
    (length) => {
      const header = Buffer.alloc(FRAME_HEADER_BYTES, 'd');
      header.writeUInt32BE(length, 1);
      for (const chunks of [[header], [...header].map((byte) => Buffer.of(byte))]) {
        const { frames, taken } = reader();
        let thrown: unknown;
        try {
          for (const chunk of chunks) frames.push(chunk);
        } catch (error) {
          thrown = error;
        }
        expect(thrown).toBeInstanceOf(OutboxError);
        expect(thrown).toHaveProperty('code', 'OUTBOX_PROTOCOL');
        expect(taken).toEqual([]);
      }
    },
  );

  test('throws OUTBOX_PROTOCOL at the header of a type that no server sends, or of a message too long for its type', () => {
    const longest: Record<string, number> = { d: 0x3fff_ffff, E: 1_048_576, N: 1_048_576 };
    const answer = (type: number, length: number): string => {
      const header = Buffer.alloc(FRAME_HEADER_BYTES, type);
      header.writeUInt32BE(length, 1);
      try {
        reader().frames.push(header);
        return 'awaited';
      } catch (error) {
        return error instanceof OutboxError ? error.code : String(error);
      }
    };
    for (let type = 0; type < 256; type++) {
      const name = String.fromCharCode(type);
      const most = longest[name] ?? ('cWZCS'.includes(name) ? 30_000 : 0);
      const answers = [answer(type, Math.max(4, most)), answer(type, most + 1)];
      expect([name, ...answers]).toEqual([name, most > 0 ? 'awaited' : 'OUTBOX_PROTOCOL', 'OUTBOX_PROTOCOL']);
    }
  });

  test('reserves 64 MiB at most for a claimed length before its bytes have come (invariant 6)', () => {
    const allocate = vi.spyOn(Buffer, 'allocUnsafeSlow');
    const { frames } = reader();
    frames.push(Buffer.from('d\x3f\xff\xff\xff', 'latin1'));
    const chunk = Buffer.alloc(1024 * 1024);
    for (let i = 0; i < 65; i++) frames.push(chunk);
    expect(allocate.mock.calls.flat()).toEqual([65_536, 64 * 1024 * 1024, 128 * 1024 * 1024]);
  });

  test('yields a message whole that is larger than the memory reserved for it', () => {
    const { frames, taken } = reader();
    const stream = bytesOf([
      { type: 'd', payload: 'x'.repeat(70 * 1024 * 1024) },
      { type: 'Z', payload: 'I' },
    ]);
    for (let at = 0; at < stream.length; at += 1_000_003) frames.push(stream.subarray(at, at + 1_000_003));
    expect(taken.map(({ type, payload }) => [type, payload.length])).toEqual([
      ['d', 70 * 1024 * 1024],
      ['Z', 1],
    ]);
  });

  test('yields the shortest message, which has no payload', () => {
    const { frames, taken } = reader();
    frames.push(Buffer.from('c\0\0\0\u0004', 'latin1'));
    expect(taken).toEqual([{ type: 'c', payload: '' }]);
  });

  test.each([false, true])(
    'grows the carry once for a 5 MB message, to its exact size, and shrinks it (invariant 6; refused first: %s)',
    (refuse) => {
      let answer = !refuse;
      const { frames, taken } = reader(() => answer || !(answer = true));
      const large = { type: 'd', payload: 'x'.repeat(5_000_000) };
      const small = { type: 'd', payload: 'y' };
      const stream = bytesOf([large, small]);
      const allocate = vi.spyOn(Buffer, 'allocUnsafeSlow');
      for (let at = 0; at < stream.length; at += 65_536) frames.push(stream.subarray(at, at + 65_536));
      expect(frames.isStopped).toBe(refuse);
      expect(frames.resume()).toBe(true);
      expect(taken).toEqual([large, small]);
      expect(allocate.mock.calls).toEqual([[5_000_005], [65_536]]);
    },
  );

  test('returns the memory of a large message at once, not only when garbage is collected (invariant 6)', () => {
    const frames = new FrameReader(() => true);
    const stream = bytesOf([{ type: 'd', payload: 'x'.repeat(5_000_000) }]);
    const before = process.memoryUsage().arrayBuffers;
    for (let i = 0; i < 20; i++) {
      frames.push(stream.subarray(0, 65_536));
      frames.push(stream.subarray(65_536));
    }
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(5_000_000);
  });
});

describe('FrameReader on a large message that nobody wants', () => {
  test('hands over its beginning alone, however the stream is split, and reserves nothing for it (invariant 6)', () => {
    const wanted = { type: 'd', payload: 'w'.repeat(70_000) };
    const stream = bytesOf([
      { type: 'd', payload: 'a' },
      { type: 'd', payload: 'u'.repeat(300_000) },
      wanted,
      { type: 'd', payload: 'u'.repeat(70_000) },
      { type: 'Z', payload: 'I' },
    ]);
    const head = { type: 'd', payload: 'u'.repeat(59) };
    fc.assert(
      fc.property(fc.array(fc.nat(), { minLength: 8, maxLength: 40 }), fc.boolean(), (places, refuses) => {
        let answer = !refuses;
        const { frames, taken } = reader(
          () => (answer = !answer || !refuses),
          (_type, buffer, start) => buffer[start + FRAME_HEADER_BYTES] === 0x75,
        );
        for (const chunk of split(stream, [60_000, 120_000, 280_000, 330_000, 400_000, ...places])) {
          frames.push(chunk);
          chunk.fill(0xee);
          while (!frames.resume());
        }
        expect(taken).toEqual([{ type: 'd', payload: 'a' }, head, wanted, head, { type: 'Z', payload: 'I' }]);
      }),
    );
    const allocate = vi.spyOn(Buffer, 'allocUnsafeSlow');
    const { frames, taken } = reader(undefined, () => true);
    frames.push(Buffer.from('d\x3f\xff\xff\xff', 'latin1'));
    const chunk = Buffer.alloc(1024 * 1024);
    for (let i = 0; i < 1024; i++) frames.push(i < 1023 ? chunk : chunk.subarray(4));
    expect([taken.length, allocate.mock.calls]).toEqual([1, [[65_536]]]);
  });
});
