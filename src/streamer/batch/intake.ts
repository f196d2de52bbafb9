import { OutboxError } from '../../errors.ts';
import { formatLsn, type Lsn } from '../../lsn.ts';
import { comparePositions, formatPosition, type Position } from '../../position.ts';
import type { Tuple } from '../source/event-columns.ts';
import type { ChangeHandler } from '../source/pgoutput.ts';
import { committedSecondsOf } from './age.ts';
import { Batch, rowBytes, type TransactionStamp } from './batch.ts';
import type { ChunkPool } from './column.ts';
import { FlushTimer } from './flush-timer.ts';
import type { BatchLimits } from './limits.ts';
import { readTimestamp } from './time.ts';

export interface IntakeOptions {
  readonly pool: ChunkPool;
  /** Monotonic clock, ms. */
  readonly now: () => number;
  readonly limits: BatchLimits;
  /** The least time between two batches that are not full. */
  readonly flushIntervalMs: number;
  /** Bytes a row takes beside its own columns: the columns that are the same for the whole batch. */
  readonly extraRowBytes: number;
  /** Positions up to here are in ClickHouse. */
  readonly delivered: Position;
  /** What is committed from here on is delivered by the slots of other shares, and not acknowledged; mostly Infinity. */
  readonly ends: Lsn;
  /** The end of an insert that may be under way, and how many rows it has: the first batch is cut exactly there. */
  readonly pending: { readonly to: Position; readonly rows: number } | undefined;
  /** The filling batch got its first row, became full or may be due, or a transaction with events became ackable. */
  readonly onProgress: () => void;
  /** See ChangeHandler. */
  readonly onRelation: () => void;
}

/**
 * Turns the stream into batches, and knows what may be acknowledged. Pure but for the clock that it is given.
 *
 * A batch never exceeds its limits, except by being one single event: a row without room is refused and comes again. A
 * pending range is cut again exactly (invariant 4), whatever the limits are now.
 */
export class Intake implements ChangeHandler {
  readonly #options: IntakeOptions;
  readonly #stamp: TransactionStamp = { commitLsn: 0, committedAt: { high: 0, low: 0 } };
  #seq = 0;
  #filling: Batch;
  #pending: IntakeOptions['pending'];
  /** The last batch that was cut and is not yet settled: a commit that comes without further rows belongs to it. */
  #tail: Batch | undefined;
  #ackable: Lsn = 0;
  #owed: Lsn = 0;
  #seen: Lsn = 0;
  /** Knows when the filling batch is due, and is told what makes it so. */
  readonly timer: FlushTimer;

  constructor(options: IntakeOptions) {
    this.#options = options;
    this.#pending = options.pending;
    this.#filling = new Batch(options.pool);
    const { flushIntervalMs: intervalMs, now, pending } = options;
    this.timer = new FlushTimer({ intervalMs, now, isFirstExact: pending !== undefined });
  }

  /** What may be acknowledged as far as the stream knows, before anything is cut from it (invariant 2). */
  get ackable(): Lsn {
    return this.#ackable;
  }

  /** How far the stream has come, at the end of a transaction or by a keepalive. */
  get seen(): Lsn {
    return this.#seen;
  }

  /** The end of the last transaction with events among what may be acknowledged: holding it back holds back WAL. */
  get owed(): Lsn {
    return this.#owed;
  }

  /** What will be ackable once a batch is settled, or now. */
  ackableAfter(batch: Batch | undefined): Lsn {
    return Math.max(this.#ackable, batch?.ackLsn ?? 0);
  }

  /** When the first event of the filling batch was committed, in seconds since 1970; undefined while it is empty. */
  get oldestSeconds(): number | undefined {
    return this.#filling.rows > 0 ? committedSecondsOf(this.#filling, 0) : undefined;
  }

  /** What the next cut hands over, as far as it has come. */
  get buffered(): Batch {
    return this.#filling;
  }

  get rows(): number {
    return this.#filling.rows;
  }

  get bytes(): number {
    return this.#filling.bytes;
  }

  /** Nothing buffered, nothing cut and unsettled, nothing pending, and not inside a transaction. */
  get isIdle(): boolean {
    return (
      !this.timer.isInTransaction && this.#filling.rows === 0 && this.#tail === undefined && this.#pending === undefined
    );
  }

  begin(commitLsn: Lsn, buffer: Buffer, timeOffset: number): void {
    this.timer.opened();
    this.#stamp.commitLsn = commitLsn;
    this.#seq = 0;
    readTimestamp(buffer, timeOffset, this.#stamp.committedAt);
  }

  insert(buffer: Buffer, tuple: Tuple): boolean {
    const { timer } = this;
    if (timer.isFull) return false;
    const { delivered, ends, extraRowBytes, limits } = this.#options;
    const lsn = this.#stamp.commitLsn;
    const seq = this.#seq + 1;
    if (lsn < delivered.lsn || lsn >= ends || (lsn === delivered.lsn && seq <= delivered.seq)) {
      this.#seq = seq;
      return true;
    }
    const bytes = rowBytes(tuple) + extraRowBytes;
    const batch = this.#filling;
    const pending = this.#pending;
    if (pending === undefined && batch.rows > 0 && batch.bytes + bytes > limits.bytes) {
      timer.filled();
      this.#options.onProgress();
      return false;
    }
    if (pending !== undefined && (lsn > pending.to.lsn || (lsn === pending.to.lsn && seq > pending.to.seq))) {
      throw this.#lost(`the stream reached ${formatPosition({ lsn, seq })}`);
    }
    if (batch.rows === 0) timer.began();
    this.#seq = seq;
    batch.append(buffer, tuple, this.#stamp, seq, bytes);
    if (pending === undefined) {
      if (batch.rows >= limits.rows || batch.bytes >= limits.bytes) timer.filled();
    } else if (comparePositions({ lsn, seq }, pending.to) === 0) {
      if (batch.rows !== pending.rows) throw this.#lost(`the range has ${batch.rows} rows`);
      timer.filled();
    } else if (batch.rows >= pending.rows) throw this.#lost(`row ${batch.rows} stands before its end`);
    if (batch.rows === 1 || timer.isFull) this.#options.onProgress();
    return true;
  }

  commit(endLsn: Lsn): void {
    this.#seen = endLsn;
    const mayBeDue = this.timer.committed();
    if (this.#pending !== undefined && !this.timer.isFull && this.#stamp.commitLsn >= this.#pending.to.lsn) {
      throw this.#lost(`the stream reached the end of transaction ${formatLsn(this.#stamp.commitLsn)}`);
    }
    const ackLsn = Math.min(endLsn, this.#options.ends);
    if (this.#filling.rows > 0) {
      this.#filling.ackLsn = ackLsn;
      if (mayBeDue) this.#options.onProgress();
    } else if (this.#tail !== undefined) this.#tail.ackLsn = ackLsn;
    else {
      this.#advance(ackLsn, this.#seq > 0);
      if (this.#seq > 0) this.#options.onProgress();
    }
  }

  relation(): void {
    this.#options.onRelation();
  }

  /** The server has sent all WAL up to here (keepalive). */
  advanceTo(walEnd: Lsn): void {
    if (this.timer.isInTransaction) return;
    if (walEnd > this.#seen) this.#seen = walEnd;
    if (this.#pending !== undefined && !this.timer.isFull && walEnd > this.#pending.to.lsn) {
      throw this.#lost(`the stream reached ${formatPosition({ lsn: walEnd, seq: 0 })}`);
    }
    if (this.isIdle) this.#advance(Math.min(walEnd, this.#options.ends), false);
  }

  /** Hands over the filling batch and begins the next. */
  cut(): Batch {
    const batch = this.#filling;
    if (this.timer.isFull && this.#pending === undefined) this.#options.limits.filled();
    this.timer.cut();
    this.#filling = new Batch(this.#options.pool);
    this.#pending = undefined;
    this.#tail = batch;
    return batch;
  }

  /** The ledger says that the batch is delivered: its transactions may be acknowledged. */
  settled(batch: Batch): void {
    if (this.#tail === batch) this.#tail = undefined;
    this.#advance(batch.ackLsn, true);
    this.#options.limits.settled();
  }

  /** Gives back the memory of what was filled and never cut. The intake must not be used after. */
  close(): void {
    this.#filling.close();
  }

  /** ClickHouse has no room for batches of this size: the next ones will be half as large, for a while. */
  shrink(): void {
    this.#options.limits.shrink();
  }

  #advance(lsn: Lsn, hasEvents: boolean): void {
    if (lsn > this.#ackable) this.#ackable = lsn;
    if (hasEvents && lsn > this.#owed) this.#owed = lsn;
  }

  #lost(detail: string): OutboxError {
    const { to, rows } = this.#pending!;
    return new OutboxError('OUTBOX_RANGE_LOST', {
      detail: `the pending range of ${rows} rows up to ${formatPosition(to)} cannot be cut again: ${detail}`,
    });
  }
}
