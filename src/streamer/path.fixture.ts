/** The path of events from the socket's bytes to batches, and the bytes of many of them. For tests that count. */
import { readLsn } from '../lsn.ts';
import { Acks } from './acks.ts';
import type { Batch } from './batch/batch.ts';
import { ChunkPool } from './batch/column.ts';
import { Intake } from './batch/intake.ts';
import { BatchLimits } from './batch/limits.ts';
import { START } from '../position.ts';
import { isUnwantedData, readCopyData } from './source/copy-data.ts';
import { FRAME_HEADER_BYTES, FrameReader } from './source/frames.ts';
import * as wire from './source/messages.fixture.ts';
import { PgoutputDecoder } from './source/pgoutput.ts';

/** Before the payload of pgoutput. */
const HEADERS_BYTES = FRAME_HEADER_BYTES + 25;
const TRACE_ID_BYTES = 32;
const CONTEXT = JSON.stringify({ order: 'x'.repeat(300) });

/** Events in a chunk. */
export const EVENTS = 1000;
/** Bytes of their values that are long enough to be copied by a call: up to 24 are moved one by one. */
export const CALLED_BYTES = EVENTS * (CONTEXT.length + TRACE_ID_BYTES);

/** Where the next chunk stands in WAL: the high halves of its positions. */
let high = 0x16;

/** What the walsender sends for some transactions: whole messages, positions like a server's that is not new. */
export class Chunk {
  readonly messages: readonly Buffer[];
  /** Where each message ends in it. */
  readonly ends: readonly number[];
  readonly #bytes: Buffer;
  /** Where the LSNs of BEGIN and COMMIT stand in it. */
  readonly #lsnOffsets: readonly number[];

  constructor(eventsPerTransaction = 100) {
    this.messages = Array.from({ length: EVENTS / eventsPerTransaction }, (_, i) =>
      wire.transaction({
        commitLsn: 0x16_b374_d848 + i * 100_000,
        endLsn: 0x16_b374_d848 + (i + 1) * 100_000,
        time: 806_000_000_123_456n,
        events: Array.from({ length: eventsPerTransaction }, () => ({
          eventDateTime: 806_000_000_000_789n,
          eventContext: CONTEXT,
          traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
        })),
      }),
    )
      .flat()
      .map((message) => wire.xlogData(message, 0x16_b374_d848));
    this.#bytes = Buffer.concat(this.messages);
    let end = 0;
    this.ends = this.messages.map(({ length }) => (end += length));
    this.#lsnOffsets = this.messages.flatMap((message, i) => {
      const at = this.ends[i]! - message.length + HEADERS_BYTES;
      const type = String.fromCharCode(message[HEADERS_BYTES]!);
      return type === 'B' ? [at + 1] : type === 'C' ? [at + 2, at + 10] : [];
    });
  }

  /** The same transactions again, further on in WAL: one buffer for ever, as the socket's is. */
  next(): Buffer {
    high++;
    for (let i = 0; i < this.#lsnOffsets.length; i++) this.#bytes.writeUInt32BE(high, this.#lsnOffsets[i]);
    return this.#bytes;
  }
}

export function inPieces(bytes: Buffer, size: number): Buffer[] {
  return Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) => bytes.subarray(i * size, (i + 1) * size));
}

/** Knows the memory that it handed out. */
class KnownPool extends ChunkPool {
  readonly memory = new Set<ArrayBufferLike>();

  override take(): Buffer {
    const chunk = super.take();
    this.memory.add(chunk.buffer);
    return chunk;
  }
}

/** As a session puts it together, but for the delivery: what is full is settled at once. */
export class Path {
  readonly intake: Intake;
  readonly frames: FrameReader;
  cuts = 0;
  /** Keepalives that had something to acknowledge. */
  owed = 0;
  readonly #pool = new KnownPool(64 * 1024 * 1024);
  #full = false;

  constructor({ maxRows = 20_000 } = {}) {
    const limits = { rows: maxRows, bytes: 64 * 1024 * 1024 };
    const intake = (this.intake = new Intake({
      pool: this.#pool,
      now: () => 0,
      limits: new BatchLimits(limits, limits),
      flushIntervalMs: 1000,
      extraRowBytes: 40,
      delivered: START,
      ends: Infinity,
      pending: undefined,
      onProgress: () => {
        this.#full = intake.timer.dueIn() === 0;
      },
      onRelation: () => undefined,
    }));
    const state = { delivered: START, pending: undefined, acked: 0, readBackBelow: 0, target: undefined };
    const ledger = { state, allowAck: async () => undefined };
    const acks = new Acks({ intake, ledger, watch: { publishedLsn: Number.MAX_SAFE_INTEGER } });
    const decoder = new PgoutputDecoder(intake, wire.OUTBOX_OID);
    const handler = {
      onMessage: (buffer: Buffer, start: number, end: number) => {
        if (this.#full) this.settle(this.cut());
        return decoder.decode(buffer, start, end);
      },
      onKeepalive: (buffer: Buffer, walEndOffset: number) => {
        intake.advanceTo(readLsn(buffer, walEndOffset));
        if (acks.isOwed) this.owed++;
      },
    };
    this.frames = new FrameReader(
      (_type, buffer, start, end) => readCopyData(buffer, start + FRAME_HEADER_BYTES, end, handler),
      (_type, buffer, start, end) =>
        isUnwantedData(buffer, start + FRAME_HEADER_BYTES, end, decoder.isUnwanted.bind(decoder)),
    );
    this.frames.push(wire.xlogData(wire.relation()));
  }

  /** What batches are made of. */
  get memory(): ReadonlySet<ArrayBufferLike> {
    return this.#pool.memory;
  }

  cut(): Batch {
    this.#full = false;
    this.cuts++;
    return this.intake.cut();
  }

  settle(batch: Batch): void {
    batch.close();
    this.intake.settled(batch);
  }
}

/** A batch of so many chunks of events, and the memory that it is made of. */
export function filled(chunks: number): { batch: Batch; memory: ReadonlySet<ArrayBufferLike> } {
  const path = new Path({ maxRows: Infinity });
  const chunk = new Chunk();
  for (let i = 0; i < chunks; i++) path.frames.push(chunk.next());
  return { batch: path.cut(), memory: path.memory };
}

export function bytesIn(parts: Iterable<{ readonly byteLength: number }>): number {
  return Array.from(parts, ({ byteLength }) => byteLength).reduce((sum, each) => sum + each, 0);
}
