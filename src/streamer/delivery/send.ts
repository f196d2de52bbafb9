import { OutboxError } from '../../errors.ts';
import type { Batch } from '../batch/batch.ts';
import { positionOf } from '../batch/event.ts';
import { encode, INSERT_COLUMNS } from '../batch/native.ts';
import { countRows } from '../batch/rows.ts';
import type { Rows } from '../batch/rows.ts';
import type { ClickHouse } from '../clickhouse/client.ts';
import type { InsertOutcome } from '../observe/measures.ts';
import type { DeliveryLedger } from '../ledger/ledger.ts';
import type { ReadBack } from './read-back.ts';
import { faultOf } from '../clickhouse/refusal.ts';
import { PROOF_MAX_AGE_MS, proveEpoch, untilDone } from './retry.ts';
import type { RetryOptions } from './retry.ts';
import type { TargetWatch } from './target-watch.ts';
import { TokenProof } from '../clickhouse/token-proof.ts';

/** An insert may go on in the server for a while after its time is up. */
export const INSERT_MARGIN_MS = 5000;
/**
 * How long a token is trusted to be remembered. After it, others may have filled ClickHouse's window, and what may be there
 * already is looked for instead of sent blindly.
 */
const TOKEN_TRUST_MS = 5 * 60_000;
/** Codes of answers that say nothing of the insert: NETWORK_ERROR, SOCKET_TIMEOUT, UNKNOWN_STATUS_OF_INSERT, QUERY_WAS_CANCELLED, Keeper's. */
const UNKNOWN_OUTCOME: ReadonlySet<number> = new Set([209, 210, 319, 394, 425, 999, 1000]);
/** Memory and time may be short for a moment; after so many refusals in a row the insert is taken to be too large. */
const TOO_LARGE_AFTER = 3;

export interface SendOptions extends RetryOptions {
  readonly clickhouse: ClickHouse;
  readonly ledger: DeliveryLedger;
  readonly table: string;
  /** System identifier and slot. */
  readonly source: string;
  /** Goes into the column of that name. */
  readonly origin: string;
  /** The longest life of one attempt. */
  readonly insertTimeoutMs: number;
  /** Most events of this slot in quarantine; more of them are the table's fault, and wait. */
  readonly quarantineMaxRows: number;
}

/** What all sends of a session share. */
export interface Surroundings {
  readonly readBack: ReadBack;
  readonly watch: TargetWatch;
  /** When the ledger was taken, by performance.now(): a former holder may have sent until then, and a little longer. */
  readonly takenAt: number;
}

/** Some rows of a batch that the ledger has pending. */
export interface Intended {
  readonly batch: Batch;
  readonly rows: Rows;
  readonly token: string;
  /** The intent's time, ms since 1970. */
  readonly atMs: number;
  /** The intent is an earlier session's, whose insert may be there or still under way. */
  readonly isRecorded: boolean;
  /** They were split from what was refused. */
  readonly isSplit: boolean;
  /** This session has looked for them, and none is there. */
  readonly isAbsent: boolean;
}

/** What ClickHouse would not take, for good, and why. */
export interface Refusal {
  readonly error: OutboxError;
  readonly fault: 'row' | 'size';
  /** Other rows of the range were there before. */
  readonly isPartlyThere: boolean;
}

/** One insert, repeated until ClickHouse has its rows, or has refused them for good (invariants 3 and 4). */
export class Send {
  readonly #options: SendOptions & Surroundings;
  readonly #intended: Intended;
  /** How long an attempt may be under way that nobody waits for. */
  readonly #livesMs: number;
  /** From then on no attempt without an answer can be under way: neither ours, nor one that a former holder sent before it noticed. */
  #quietAt: number;
  #mayBeThere: boolean;
  #isUnread: boolean;
  #trustedFrom: number;
  /** Of the doubts about the target's memory, how many do not concern these rows any more. */
  #doubtsPast: number;
  #absent: readonly Rows[] | undefined;
  /** Since a view has failed: only the same token, while it is remembered, completes it. */
  #proof: TokenProof | undefined;
  #tooLarge = 0;

  constructor(options: SendOptions & Surroundings, intended: Intended) {
    const { batch, rows, atMs, isRecorded, isAbsent } = intended;
    this.#options = options;
    this.#intended = intended;
    this.#livesMs = options.insertTimeoutMs + INSERT_MARGIN_MS;
    this.#quietAt = isRecorded ? this.#strangersUntil : 0;
    this.#mayBeThere = isRecorded;
    this.#isUnread = !isAbsent && positionOf(batch, rows.from).lsn < options.ledger.state.readBackBelow;
    this.#trustedFrom = atMs;
    this.#doubtsPast = isRecorded ? 0 : options.watch.doubts;
  }

  /** Throws the last refusal when a stop is asked for, and what is not ClickHouse's. */
  async untilAnswered(): Promise<Refusal | undefined> {
    let refusal: Refusal | undefined;
    await untilDone(this.#options, 'insert', async () => {
      refusal = await this.#attempt();
    });
    return refusal;
  }

  /** Returns when all rows are there, or a refusal for good; throws what is worth another attempt. */
  async #attempt(): Promise<Refusal | undefined> {
    const { ledger, watch, status } = this.#options;
    // what another insert sees of the target from now on stays a doubt
    const { doubts } = watch;
    if (this.#mayBeThere) await watch.look();
    if (await this.#mustLookFor()) {
      await this.#awaiting(async () => this.#lookFor(doubts));
      if (this.#absent?.length === 0) return undefined;
    }
    await proveEpoch(ledger);
    this.#mayBeThere = true;
    const sentAt = performance.now();
    let outcome: InsertOutcome = 'failed';
    try {
      await this.#insert();
      outcome = 'done';
    } catch (error) {
      const refusal = await this.#awaiting(async () => this.#judge(error, sentAt));
      outcome = 'refused';
      return refusal;
    } finally {
      status.measures.inserted(outcome, performance.now() - sentAt);
    }
    if (this.#absent !== undefined) await this.#checkWhole();
    return undefined;
  }

  async #insert(): Promise<void> {
    const { clickhouse, ledger, source, table, origin, signal } = this.#options;
    const { batch, rows, token, atMs } = this.#intended;
    const isWhole = rows.from === 0 && rows.to === batch.rows;
    const absent = this.#absent;
    await clickhouse.insert(
      {
        query: `INSERT INTO {table:Identifier} (${INSERT_COLUMNS.join(', ')}) FORMAT Native`,
        parameters: { table },
        rows: countRows(absent ?? [rows]),
        token,
        queryId: `${source}/${ledger.epoch}/${token}`,
        body: encode(batch, { source, deliveredAtMs: atMs, origin }, absent ?? (isWhole ? undefined : [rows])),
      },
      signal,
    );
  }

  /** Can the token not tell any more whether the rows are there? */
  async #mustLookFor(): Promise<boolean> {
    const { watch, signal } = this.#options;
    if (this.#isUnread) return true;
    if (!this.#mayBeThere) return false;
    if (watch.doubts > this.#doubtsPast) return true;
    // another host's clock may have been ahead
    if (Math.abs(Date.now() - this.#trustedFrom) <= TOKEN_TRUST_MS) return false;
    return (await this.#proof?.holds(signal)) !== true;
  }

  async #lookFor(doubts: number): Promise<void> {
    const { readBack } = this.#options;
    const { batch, rows } = this.#intended;
    // who sent before a failover, and has not noticed it, may still be sending
    const quietAt = this.#isUnread ? Math.max(this.#quietAt, this.#strangersUntil) : this.#quietAt;
    await readBack.quiet(quietAt, 'the pending insert was looked for');
    this.#absent = await readBack.absent(batch, rows);
    this.#say(this.#absent);
    this.#isUnread = false;
    this.#doubtsPast = doubts;
    this.#trustedFrom = Date.now();
  }

  /** Decides what an attempt that failed means. Returns when it is refused for good; throws when it is worth another one. */
  async #judge(error: unknown, sentAt: number): Promise<Refusal> {
    const { readBack } = this.#options;
    const { batch, rows, isSplit } = this.#intended;
    const { code, clickhouseCode } = error instanceof OutboxError ? error : {};
    if (clickhouseCode === undefined || UNKNOWN_OUTCOME.has(clickhouseCode))
      this.#quietAt = performance.now() + this.#livesMs;
    if (code === 'OUTBOX_CH_VIEW_FAILED') await this.#beginProof();
    const fault = error instanceof OutboxError ? faultOf(error) : undefined;
    this.#tooLarge = fault === 'size' ? this.#tooLarge + 1 : 0;
    const isFinal =
      fault === 'row' ||
      (fault === 'size' && rows.to - rows.from > 1 && (isSplit || this.#tooLarge >= TOO_LARGE_AFTER));
    if (!isFinal) throw error;
    // an older attempt may still succeed, and then the larger range must not be taken apart
    if (sentAt < this.#quietAt) {
      await readBack.quiet(this.#quietAt, 'an earlier attempt at the refused insert had ended');
      throw error;
    }
    await readBack.quiet(0, 'the rows of the refused insert were looked for');
    const expected = this.#absent === undefined ? 0 : rows.to - rows.from - countRows(this.#absent);
    if ((await readBack.count(batch, rows)) > expected) {
      await this.#beginProof();
      throw new OutboxError('OUTBOX_CH_VIEW_FAILED', {
        clickhouseCode,
        detail: `rows of a refused insert are in the table: ${(error as OutboxError).message}`,
      });
    }
    if (fault === 'row') await this.#checkQuarantine();
    return { error: error as OutboxError, fault, isPartlyThere: expected > 0 };
  }

  /** What becomes of an insert is waited for, as for its answer: a long wait is a stall to who looks on. */
  async #awaiting<T>(wait: () => Promise<T>): Promise<T> {
    const answered = this.#options.status.inserting();
    try {
      return await wait();
    } finally {
      answered();
    }
  }

  async #beginProof(): Promise<void> {
    const { clickhouse, watch, signal } = this.#options;
    this.#proof ??= await TokenProof.begin(clickhouse, watch.target, this.#intended.atMs, signal);
  }

  /** Rows sent under a token that ClickHouse knows from others are dropped without a word. */
  async #checkWhole(): Promise<void> {
    const { batch, rows } = this.#intended;
    const there = await this.#options.readBack.count(batch, rows);
    const want = rows.to - rows.from;
    if (there >= want) return;
    throw new OutboxError('OUTBOX_CH_RANGE_PARTIAL', {
      detail: `${there} of the ${want} rows of the pending insert are in ClickHouse`,
    });
  }

  async #checkQuarantine(): Promise<void> {
    const { ledger, quarantineMaxRows } = this.#options;
    const rows = await ledger.quarantined();
    if (rows >= quarantineMaxRows)
      throw new OutboxError('OUTBOX_QUARANTINE_FULL', { detail: `${rows} events are in quarantine` });
  }

  #say(absent: readonly Rows[]): void {
    const { log, watch, status } = this.#options;
    const { rows } = this.#intended;
    const all = rows.to - rows.from;
    const there = all - countRows(absent);
    log[there > 0 ? 'warn' : 'debug']({ rows: all, there }, 'the pending insert was looked for');
    if (there === 0 || watch.target.views === 0) return;
    status.measures.unproven += there;
    log.error(
      { err: new OutboxError('OUTBOX_CH_VIEWS_UNPROVEN'), rows: there },
      'rows of the pending insert are in the table',
    );
  }

  /** Until then an attempt may be under way that a former holder sent before it noticed. */
  get #strangersUntil(): number {
    return this.#options.takenAt + PROOF_MAX_AGE_MS + this.#livesMs;
  }
}
