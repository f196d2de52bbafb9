import { OutboxError } from '../../errors.ts';
import type { Lsn } from '../../lsn.ts';
import { comparePositions, type Position } from '../../position.ts';
import type { Batch } from '../batch/batch.ts';
import { positionOf } from '../batch/event.ts';
import { ClickHouseRefusal } from '../clickhouse/refusal.ts';
import type { Pending } from '../ledger/row.ts';
import type { Attachment } from './attachment.ts';
import type { ReadBack } from './read-back.ts';
import { proveEpoch, TOKEN_TRUST_MS } from './retry.ts';
import { send, type Sending } from './send.ts';
import type { TargetWatch } from './target-watch.ts';

/** So many events are tried, beside the last, before the refused one is asked for again. */
const TRIES = 10;
/** Its multiples spread evenly over the fractions, however many there are. */
const GOLDEN_RATIO = (Math.sqrt(5) - 1) / 2;

export interface NeighboursOptions {
  readonly attachment: Attachment;
  readonly readBack: ReadBack;
  readonly watch: TargetWatch;
  /** The rows that came after the batch, and are not cut yet; undefined when none will come. */
  readonly buffered: (() => Batch) | undefined;
  /** Makes the token of a row that is sent alone. */
  readonly alone: (batch: Batch, row: number) => Pending;
  /** How long an attempt may be under way that nobody waits for. */
  readonly attemptLifetimeMs: number;
  /** Until then a former holder may be sending, by performance.now(). */
  readonly formerHolderMaySendUntil: number;
}

/** A row that is sent before its turn. */
interface Ahead extends Sending {
  readonly row: number;
  /** How many there were about the target's memory when it was begun. */
  readonly doubts: number;
}

/**
 * Sends later events before their turn: when the table takes one, an event that it refuses is at fault, and else the table may be
 * (invariant 7). The ledger says first that they must be looked for before they are sent in their turn.
 */
export class Neighbours {
  readonly #options: NeighboursOptions;
  /** From then on no attempt of this session without an answer can be under way. */
  #quietAt = 0;
  /** What is to be read back at or behind it is so for what this session has sent ahead, and nobody before. */
  #ownFrom: Lsn | undefined;
  /** What this session has sent ahead and ClickHouse has taken: nothing about it is unproven. */
  readonly #taken: Position[] = [];
  /** One that has no answer yet, or that a view refuses: its token alone completes it. */
  #begun: Ahead | undefined;
  #tried = 0;

  constructor(options: NeighboursOptions) {
    this.#options = options;
  }

  /** From then on nothing at an LSN that is to be read back can be under way, by performance.now(). */
  quietAt(lsn: Lsn): number {
    const { attachment, formerHolderMaySendUntil } = this.#options;
    const isOwn = lsn >= (this.#ownFrom ?? attachment.ledger.state.readBackBelow);
    return isOwn ? this.#quietAt : Math.max(this.#quietAt, formerHolderMaySendUntil);
  }

  /** How many events between two positions, both included, were sent ahead and taken. */
  takenBetween(from: Position, to: Position): number {
    return this.#taken.filter((one) => comparePositions(one, from) >= 0 && comparePositions(one, to) <= 0).length;
  }

  /** Whether the table takes one of the events behind a row. Throws OutboxErrors OUTBOX_CH_* that say nothing of rows. */
  async oneIsTaken(batch: Batch, row: number): Promise<boolean> {
    const { ledger } = this.#options.attachment;
    const behind = this.#options.buffered?.();
    if (await this.#isBegunTaken([batch, behind])) return true;
    const before = ledger.state.readBackBelow;
    const inBatch = batch.rows - row - 1;
    for (const other of this.#some(inBatch + (behind?.rows ?? 0))) {
      if (other < inBatch ? await this.#isTaken(batch, row + 1 + other) : await this.#isTaken(behind!, other - inBatch))
        return true;
    }
    // all were refused, and none is there: a successor need not wait until none of them can be under way
    await ledger.readBackDownTo(before);
    return false;
  }

  /** Some numbers below `count`: the last one, and over many calls all of them, early and late ones in turn. */
  *#some(count: number): Generator<number, void, undefined> {
    if (count > 0) yield count - 1;
    for (let n = 0; n < Math.min(TRIES, count - 1); n++) {
      yield count <= TRIES ? n : Math.floor(((this.#tried++ * GOLDEN_RATIO) % 1) * (count - 1));
    }
  }

  async #isTaken(batch: Batch, row: number): Promise<boolean> {
    const { attachment, readBack, alone } = this.#options;
    const { ledger } = attachment;
    const rows = { from: row, to: row + 1 };
    const { lsn } = positionOf(batch, row);
    if (lsn < ledger.state.readBackBelow) {
      await readBack.quiet(this.quietAt(lsn), 'a later event was looked for');
      // that it is there proves nothing of now
      if ((await readBack.count(batch, rows)) > 0) return false;
    }
    this.#ownFrom ??= ledger.state.readBackBelow;
    await ledger.readBackUpTo(lsn + 1);
    const { token, atMs } = alone(batch, row);
    return this.#send({ batch, row, runs: [rows], token, atMs, doubts: this.#options.watch.doubts });
  }

  /** Repeats what has no answer yet, as long as its batch is there and its token is remembered. */
  async #isBegunTaken(batches: readonly (Batch | undefined)[]): Promise<boolean> {
    const begun = this.#begun;
    if (begun === undefined) return false;
    this.#begun = undefined;
    if (!batches.includes(begun.batch) || Math.abs(Date.now() - begun.atMs) > TOKEN_TRUST_MS) return false;
    // a token that may be forgotten completes nothing: the row is looked for in its turn
    const { watch } = this.#options;
    await watch.check();
    return watch.doubts === begun.doubts && this.#send(begun);
  }

  async #send(ahead: Ahead): Promise<boolean> {
    const { attachment, readBack, attemptLifetimeMs } = this.#options;
    const { batch, row } = ahead;
    await proveEpoch(attachment.ledger);
    try {
      await send(attachment, ahead);
    } catch (error) {
      this.#begun = ahead;
      const isDefinite = this.#options.watch.isDefinite(error);
      if (!isDefinite) this.#quietAt = performance.now() + attemptLifetimeMs;
      if (!isDefinite || !(error instanceof ClickHouseRefusal) || error.fault === undefined) throw error;
      // an earlier attempt at it may still succeed, and a view may have failed behind a row that is there
      await readBack.quiet(this.#quietAt, 'a later event was looked for');
      if ((await readBack.count(batch, { from: row, to: row + 1 })) > 0)
        throw new OutboxError('OUTBOX_CH_VIEW_FAILED', {
          ...(error.clickhouseCode === undefined ? {} : { clickhouseCode: error.clickhouseCode }),
          detail: `a row of a rejected insert is in the table: ${error.message}`,
          problems: this.#options.watch.views,
        });
      this.#begun = undefined;
      return false;
    }
    this.#taken.push(positionOf(batch, row));
    return true;
  }
}
