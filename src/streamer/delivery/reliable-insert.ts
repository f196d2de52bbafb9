import { randomUUID } from 'node:crypto';
import { OutboxError } from '../../errors.ts';
import type { Batch } from '../batch/batch.ts';
import { positionOf } from '../batch/event.ts';
import { countRows, type Rows } from '../batch/rows.ts';
import { ClickHouseRefusal } from '../clickhouse/refusal.ts';
import { TokenProof } from '../clickhouse/token-proof.ts';
import type { InsertOutcome } from '../observe/measures.ts';
import type { Attachment } from './attachment.ts';
import type { Neighbours } from './neighbours.ts';
import type { ReadBack } from './read-back.ts';
import { proveEpoch, TOKEN_TRUST_MS, untilDone } from './retry.ts';
import { send } from './send.ts';
import type { TargetWatch } from './target-watch.ts';

/** So often a refusal must come, with no other between, before it counts as lasting. Memory and time may be short for a moment. */
const LASTING_AFTER = { row: 2, size: 2, load: 3 };
/** One row is seldom too much for memory and time: it is repeated with growing pauses before it is taken for that. */
const TOO_MUCH_ALONE_AFTER = 10;

/** What all inserts of an attachment share. */
export interface SessionScope {
  readonly readBack: ReadBack;
  readonly neighbours: Neighbours;
  readonly watch: TargetWatch;
  /** How long an attempt may be under way that nobody waits for. */
  readonly attemptLifetimeMs: number;
  /** Until then an attempt may be under way that a former holder sent before it noticed; by performance.now(). */
  readonly formerHolderMaySendUntil: number;
}

/** Some rows of a batch that the ledger has pending. */
export interface PendingRows {
  readonly batch: Batch;
  readonly rows: Rows;
  readonly token: string;
  /** The intent's time, ms since 1970. */
  readonly atMs: number;
  /** The intent is an earlier session's, whose insert may be there or still under way. */
  readonly isRecorded: boolean;
  /** They were split from an insert that ClickHouse rejected. */
  readonly isSplit: boolean;
  /** This session has looked for them, and none is there. */
  readonly isAbsent: boolean;
}

/** ClickHouse rejects the insert, again and again, for what may be a fault of a row or of its size. */
export interface Rejection {
  readonly error: ClickHouseRefusal;
  /** Other rows of the range were there before. */
  readonly isPartlyThere: boolean;
}

/** `taken` by the table now, or found `there` and not sent. */
export type Answer = 'taken' | 'there' | Rejection;

/** One insert, repeated until ClickHouse has its rows, or has rejected them permanently (invariants 3 and 4). */
export class ReliableInsert {
  readonly #attachment: Attachment;
  readonly #scope: SessionScope;
  readonly #pending: PendingRows;
  /** From then on no attempt without an answer can be under way: neither ours, nor one that a former holder sent before it noticed. */
  #quietAt: number;
  #mayBeThere: boolean;
  #mustReadBack: boolean;
  #trustedFrom: number;
  /** Of the doubts about the target's memory, how many do not concern these rows any more. */
  #knownDoubts: number;
  #absent: readonly Rows[] | undefined;
  #token: string;
  /** Since a view has failed: only the same token, while it is remembered, completes it. */
  #proof: TokenProof | undefined;
  /** The last refusal that may be lasting, and how often it has come. */
  #refused: { reason: number | string | undefined; times: number } = { reason: undefined, times: 0 };

  constructor(attachment: Attachment, scope: SessionScope, pending: PendingRows) {
    const { batch, rows, atMs, isRecorded, isAbsent } = pending;
    const { ledger } = attachment;
    this.#attachment = attachment;
    this.#scope = scope;
    this.#pending = pending;
    this.#quietAt = isRecorded ? scope.formerHolderMaySendUntil : 0;
    this.#mayBeThere = isRecorded;
    this.#mustReadBack = !isAbsent && positionOf(batch, rows.from).lsn < ledger.state.readBackBelow;
    this.#trustedFrom = atMs;
    this.#token = pending.token;
    this.#knownDoubts = isRecorded ? 0 : scope.watch.doubts;
  }

  /** Throws the last error when a stop is asked for, and what is not ClickHouse's. */
  async untilAnswered(): Promise<Answer> {
    let answer: Answer = 'there';
    await untilDone(this.#attachment, 'insert', async () => {
      answer = await this.#attempt();
      return typeof answer === 'string' ? 'answered' : 'refused';
    });
    return answer;
  }

  /** Returns when all rows are there, or what rejects them again and again; throws what is worth another attempt. */
  async #attempt(): Promise<Answer> {
    const { readiness } = this.#attachment;
    readiness.insertBegan();
    try {
      return await this.#insertOnce();
    } finally {
      readiness.insertEnded();
    }
  }

  async #insertOnce(): Promise<Answer> {
    const { ledger, readiness } = this.#attachment;
    const { watch } = this.#scope;
    if (this.#mayBeThere || watch.isTurning || watch.isSuspect) await watch.check();
    // what a later check finds wrong with the target stays a doubt
    const { doubts } = watch;
    if (await this.#isReadBackNeeded()) {
      await this.#readBack(doubts);
      if (this.#absent?.length === 0) return 'there';
    }
    await proveEpoch(ledger);
    const isRepeated = this.#mayBeThere;
    this.#mayBeThere = true;
    const sentAt = performance.now();
    let outcome: InsertOutcome = 'failed';
    try {
      await this.#send();
      outcome = 'done';
    } catch (error) {
      const rejection = await this.#judge(error, sentAt);
      outcome = 'refused';
      return rejection;
    } finally {
      readiness.measures.inserted(outcome, performance.now() - sentAt);
    }
    if (isRepeated) await this.#checkWhole();
    return 'taken';
  }

  async #send(): Promise<void> {
    const { batch, rows, atMs } = this.#pending;
    const isWhole = rows.from === 0 && rows.to === batch.rows;
    const runs = this.#absent ?? (isWhole ? undefined : [rows]);
    await send(this.#attachment, { batch, runs, token: this.#token, atMs });
  }

  /** Can the token not tell any more whether the rows are there? */
  async #isReadBackNeeded(): Promise<boolean> {
    if (this.#mustReadBack) return true;
    if (!this.#mayBeThere) return false;
    if (this.#scope.watch.doubts > this.#knownDoubts) return true;
    // another host's clock may have been ahead
    if (Math.abs(Date.now() - this.#trustedFrom) <= TOKEN_TRUST_MS) return false;
    return (await this.#proof?.holds(this.#attachment.signal)) !== true;
  }

  async #readBack(doubts: number): Promise<void> {
    const { readBack, neighbours } = this.#scope;
    const { batch, rows } = this.#pending;
    // a holder from before a failover, which has not noticed it, may still be sending
    const quietAt = this.#mustReadBack
      ? Math.max(this.#quietAt, neighbours.quietAt(positionOf(batch, rows.from).lsn))
      : this.#quietAt;
    await readBack.quiet(quietAt, 'the pending insert was looked for');
    this.#absent = await readBack.absent(batch, rows);
    this.#report(this.#absent);
    if (this.#mayBeThere) this.#renewToken();
    this.#mustReadBack = false;
    this.#knownDoubts = doubts;
    this.#trustedFrom = Date.now();
  }

  /** Decides what an attempt that failed means. Returns when it is rejected permanently; throws when it is worth another one. */
  async #judge(thrown: unknown, sentAt: number): Promise<Rejection> {
    const { readBack, attemptLifetimeMs } = this.#scope;
    const { batch, rows } = this.#pending;
    const isDefinite = this.#scope.watch.isDefinite(thrown);
    if (!isDefinite) this.#quietAt = performance.now() + attemptLifetimeMs;
    if (!(thrown instanceof ClickHouseRefusal)) throw thrown;
    const isView = thrown.code === 'OUTBOX_CH_VIEW_FAILED';
    const error = isView ? thrown.about(this.#scope.watch.views) : thrown;
    const { clickhouseCode } = error;
    if (isView) await this.#beginProof();
    if (!this.#isLasting(error)) throw error;
    // an older attempt may still succeed, and then the larger range must not be split
    if (sentAt < this.#quietAt) {
      await readBack.quiet(this.#quietAt, 'an earlier attempt at the rejected insert had ended');
      if (isDefinite) throw error;
    }
    await readBack.quiet(0, 'the rows of the rejected insert were looked for');
    const expected = this.#absent === undefined ? 0 : rows.to - rows.from - countRows(this.#absent);
    if ((await readBack.count(batch, rows)) > expected) {
      if (!isDefinite) throw error;
      await this.#beginProof();
      throw new OutboxError('OUTBOX_CH_VIEW_FAILED', {
        clickhouseCode,
        detail: `rows of a rejected insert are in the table: ${error.message}`,
        problems: this.#scope.watch.views,
      });
    }
    if (error.fault !== 'load' || rows.to - rows.from === 1) await this.#checkQuarantine();
    return { error, isPartlyThere: expected > 0 };
  }

  /** Whether a refusal has come often enough to be believed. */
  #isLasting({ fault, clickhouseCode }: ClickHouseRefusal): boolean {
    if (fault === undefined) return false;
    const { rows, isSplit } = this.#pending;
    const reason = fault === 'load' ? fault : clickhouseCode;
    this.#refused = { reason, times: this.#refused.reason === reason ? this.#refused.times + 1 : 1 };
    const { times } = this.#refused;
    if (fault === 'load' && rows.to - rows.from === 1) return times >= TOO_MUCH_ALONE_AFTER;
    return isSplit || times >= LASTING_AFTER[fault];
  }

  async #beginProof(): Promise<void> {
    const { clickhouse, signal } = this.#attachment;
    this.#proof ??= await TokenProof.begin(clickhouse, this.#scope.watch.target, this.#pending.atMs, signal);
  }

  /** ClickHouse may know the former one, and would drop what is not there without a word; no attempt under it can be under way. */
  #renewToken(): void {
    this.#token = `${this.#pending.token}/${randomUUID()}`;
    this.#mayBeThere = false;
    this.#proof = undefined;
  }

  /** A replica may have removed a part whose token is known, and a server may have found it broken when it started. */
  async #checkWhole(): Promise<void> {
    // rows that are not there may have expired
    if (this.#scope.watch.target.expiresAtOnce) return;
    const { batch, rows } = this.#pending;
    const there = await this.#scope.readBack.count(batch, rows, 'all');
    const want = rows.to - rows.from;
    if (there >= want) return;
    this.#mustReadBack = true;
    throw new OutboxError('OUTBOX_CH_ROWS_DROPPED', {
      detail: `${there} of the ${want} rows of the pending insert are in ClickHouse`,
    });
  }

  async #checkQuarantine(): Promise<void> {
    const { ledger, config } = this.#attachment;
    const rows = await ledger.quarantined();
    if (rows >= config.quarantineMaxRows)
      throw new OutboxError('OUTBOX_QUARANTINE_FULL', { detail: `${rows} events are in quarantine` });
  }

  #report(absent: readonly Rows[]): void {
    const { log, readiness } = this.#attachment;
    const { rows } = this.#pending;
    const all = rows.to - rows.from;
    const there = all - countRows(absent);
    log[there > 0 ? 'warn' : 'debug']({ rows: all, there }, 'the pending insert was looked for');
    const { batch } = this.#pending;
    const { neighbours, watch } = this.#scope;
    const unproven = there - neighbours.takenBetween(positionOf(batch, rows.from), positionOf(batch, rows.to - 1));
    if (unproven <= 0 || watch.target.views.length === 0) return;
    readiness.measures.unproven += unproven;
    log.error(
      { err: new OutboxError('OUTBOX_CH_VIEWS_UNPROVEN'), rows: unproven },
      'rows of the pending insert are in the table',
    );
  }
}
