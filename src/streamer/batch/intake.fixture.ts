/** Feeds an Intake with real messages, and remembers what went where. For tests. */
import { START, type Position } from '../../position.ts';
import { PgoutputDecoder } from '../source/pgoutput.ts';
import { OUTBOX_OID, relation, transaction, type WireTransaction } from '../source/messages.fixture.ts';
import type { Batch } from './batch.ts';
import { ChunkPool } from './column.ts';
import { Intake, type IntakeOptions } from './intake.ts';
import { BatchLimits } from './limits.ts';
import { encode } from './native.ts';
import { readRows } from './native.fixture.ts';

const CONSTANTS = { source: '1/outbox', deliveredAtMs: 0, origin: 'stream' };

/** Shared, so that what is read was written over something older. */
const POOL = new ChunkPool(64 * 1024 * 1024);

export interface FeedOptions extends Partial<IntakeOptions> {
  /** Of each batch, from the first. */
  readonly maxRows?: number;
  readonly maxBytes?: number;
}

export class Feed {
  readonly intake: Intake;
  readonly #decoder: PgoutputDecoder;
  #messages: Buffer[] = [];
  #next = 0;
  /** ms of the clock that the intake is given. */
  nowMs = 1000;
  progress = 0;
  relations = 0;

  constructor({ maxRows = 1000, maxBytes = 1_000_000, ...options }: FeedOptions = {}) {
    const limits = { rows: maxRows, bytes: maxBytes };
    this.intake = new Intake({
      pool: POOL,
      now: () => this.nowMs,
      limits: new BatchLimits(limits, limits),
      flushIntervalMs: 100,
      extraRowBytes: 0,
      delivered: START,
      ends: Infinity,
      pending: undefined,
      onProgress: () => void this.progress++,
      onRelation: () => void this.relations++,
      ...options,
    });
    this.#decoder = new PgoutputDecoder(this.intake, OUTBOX_OID);
    this.queue(relation());
    this.run();
    this.relations = 0;
  }

  /** Puts messages behind those that wait. */
  queue(...messages: Buffer[]): this {
    this.#messages.push(...messages);
    return this;
  }

  transactions(...transactions: WireTransaction[]): this {
    for (const each of transactions) this.queue(...transaction(each));
    return this;
  }

  get waiting(): number {
    return this.#messages.length - this.#next;
  }

  /** Decodes up to `most` of the waiting messages; ends early when one is refused, which then still waits. */
  run(most = Infinity): number {
    let taken = 0;
    for (; taken < most && this.waiting > 0; taken++) {
      const message = this.#messages[this.#next]!;
      if (!this.#decoder.decode(message, 0, message.length)) break;
      this.#next++;
    }
    return taken;
  }

  /** Runs to the end, cutting whenever a batch is full, and the rest at the end. */
  cutAll(): Batch[] {
    const batches: Batch[] = [];
    for (;;) {
      this.run();
      if (this.waiting === 0) break;
      batches.push(this.intake.cut());
    }
    if (this.intake.rows > 0) batches.push(this.intake.cut());
    return batches;
  }
}

/** Positions of a batch's rows, as they are sent. */
export function positionsOf(batch: Batch): Position[] {
  return readRows(encode(batch, CONSTANTS)).map(({ lsn, seq }) => ({ lsn: Number(lsn), seq: Number(seq) }));
}

/** The whole body of the insert. */
export function bodyOf(batch: Batch): string {
  return Buffer.concat([...encode(batch, CONSTANTS)]).toString('latin1');
}

/** Transactions one behind the other, with contexts of the given lengths. The gap before the next commit may be nothing. */
export function stream(lengths: readonly (readonly number[])[], gaps: readonly number[] = [0]): WireTransaction[] {
  let lsn = 1000;
  return lengths.map((contexts, i) => {
    const commitLsn = lsn + gaps[i % gaps.length]!;
    const endLsn = commitLsn + 40;
    lsn = endLsn;
    return { commitLsn, endLsn, events: contexts.map((length) => ({ eventContext: 'c'.repeat(length) })) };
  });
}
