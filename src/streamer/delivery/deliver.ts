import { OutboxError } from '../../errors.ts';
import type { Lsn } from '../../lsn.ts';
import { formatPosition, type Position } from '../../position.ts';
import { addAges } from '../batch/age.ts';
import type { Batch } from '../batch/batch.ts';
import { eventOf, positionOf } from '../batch/event.ts';
import type { Rows } from '../batch/rows.ts';
import type { Pending } from '../ledger/row.ts';
import { LogThrottle } from '../observe/log-throttle.ts';
import type { Attachment } from './attachment.ts';
import { isolate } from './isolate.ts';
import { Neighbours } from './neighbours.ts';
import { ReadBack } from './read-back.ts';
import { ReliableInsert, type Answer, type Rejection, type SessionScope } from './reliable-insert.ts';
import { INSERT_MARGIN_MS, PROOF_MAX_AGE_MS, untilDone } from './retry.ts';
import { sendNothing } from './send.ts';
import { TargetWatch } from './target-watch.ts';
import { tokenOf, type Intent } from './token.ts';

/** Two intents have two times, also where the clock was set back by so much between them. */
const MAX_CLOCK_STEP_MS = 60_000;

export interface DeliveryHooks {
  /** The rows that have come since the last batch was cut; without it, none will come. */
  readonly buffered?: () => Batch;
  /** Makes the token of some rows of a batch. */
  readonly tokenOf?: (intent: Intent, rows: Rows) => string;
  /** A batch was too large for ClickHouse's limits: the next ones should be smaller. */
  readonly onTooLarge?: () => void;
  /** An event was put into quarantine by a write that ended at this LSN. */
  readonly onQuarantined?: (walEnd: Lsn) => void;
}

/**
 * From a batch to rows in ClickHouse: the intent in the ledger, then an insert that is repeated until it is answered (invariants 3
 * and 4). What ClickHouse rejects permanently is split until the event at fault stands alone, and that goes to quarantine
 * (invariant 7). Errors of ClickHouse end here; errors of the ledger end the session.
 */
export class Delivery {
  readonly #attachment: Attachment;
  readonly #hooks: DeliveryHooks;
  readonly #scope: SessionScope;
  /** An application that sends such dates does it in every batch. */
  readonly #clampingThrottle = new LogThrottle();
  /** The time of the last intent. */
  #lastAtMs: number;
  /** The table has taken an insert. */
  #hasTaken = false;
  /** Events have gone to quarantine although nothing vouched for the table. */
  #isUnwitnessed = false;

  constructor(attachment: Attachment, hooks: DeliveryHooks = {}) {
    this.#attachment = attachment;
    this.#hooks = hooks;
    this.#lastAtMs = attachment.ledger.state.pending?.atMs ?? 0;
    const readBack = new ReadBack(attachment, attachment.origin);
    const attemptLifetimeMs = attachment.config.insertTimeoutMs + INSERT_MARGIN_MS;
    const formerHolderMaySendUntil = performance.now() + PROOF_MAX_AGE_MS + attemptLifetimeMs;
    const watch = new TargetWatch(attachment);
    const neighbours = new Neighbours({
      attachment,
      readBack,
      watch,
      buffered: hooks.buffered,
      alone: (batch, row) => this.#pending(batch, { from: row, to: row + 1 }, attachment.ledger.state.delivered),
      attemptLifetimeMs,
      formerHolderMaySendUntil,
    });
    this.#scope = { readBack, neighbours, watch, attemptLifetimeMs, formerHolderMaySendUntil };
  }

  /**
   * Waits until the target can hold events exactly once, and `check` finds nothing wrong either. Throws what was wrong when a
   * stop is asked for.
   */
  async untilReady(check: () => Promise<void>): Promise<void> {
    await untilDone(this.#attachment, 'target check', async () => {
      const { clickhouse, table, signal } = this.#attachment;
      await this.#scope.watch.check();
      await sendNothing(clickhouse, table, signal);
      await check();
    });
  }

  /** Looks at the target beside the inserts. Throws what is wrong with it. */
  async observeTarget(): Promise<void> {
    await this.#scope.watch.observe();
  }

  /** Records the intent of a batch, which settles what was pending and allows acknowledgements up to `ackable`. */
  async record(batch: Batch, ackable: Lsn): Promise<Pending> {
    return this.#record(batch, { from: 0, to: batch.rows }, ackable);
  }

  /**
   * Returns when ClickHouse has all rows of the recorded batch, each once, but for those that are in quarantine; the last part
   * is then still pending. `isRecorded` says that the intent is an earlier session's, whose insert may be there or still under
   * way. Throws the last error when a stop is asked for.
   */
  async deliver(batch: Batch, pending: Pending, isRecorded: boolean): Promise<void> {
    const { readiness, log } = this.#attachment;
    const began = performance.now();
    const rows = { from: 0, to: batch.rows };
    const answer = await this.#insert(batch, rows, pending, { isRecorded, isSplit: false, isAbsent: false });
    const quarantined = typeof answer === 'string' ? 0 : await this.#isolate(batch, answer);
    readiness.measures.batchDone(batch);
    const to = formatPosition({ lsn: batch.lastLsn, seq: batch.lastSeq });
    const ms = Math.round(performance.now() - began);
    if (batch.clamped > 0) {
      const level = this.#clampingThrottle.level('clamped') === 'debug' ? 'debug' : 'warn';
      log[level]({ rows: batch.clamped, to }, 'dates beyond DateTime64(6) were clamped');
    }
    if (quarantined > 0)
      log.error({ err: new OutboxError('OUTBOX_QUARANTINED'), rows: quarantined, to }, 'events are in quarantine');
    log.debug({ rows: batch.rows, bytes: batch.bytes, to, ms }, 'batch delivered');
  }

  async #isolate(batch: Batch, rejection: Rejection): Promise<number> {
    const { log, ledger } = this.#attachment;
    if (batch.rows > 1)
      log.error(
        { err: rejection.error, rows: batch.rows },
        'ClickHouse rejects an insert again and again: splitting it',
      );
    if (rejection.error.fault !== 'row') this.#hooks.onTooLarge?.();
    const insertPart = async (rows: Rows, pending: Pending, isAbsent: boolean): Promise<Answer> =>
      this.#insert(batch, rows, pending, { isRecorded: false, isSplit: true, isAbsent });
    return isolate({ from: 0, to: batch.rows }, rejection, {
      split: async (first, isPartlyThere) => {
        const pending = this.#pending(batch, first, ledger.state.delivered);
        await ledger.split(pending, isPartlyThere ? batch.lastLsn + 1 : 0);
        return insertPart(first, pending, !isPartlyThere);
      },
      next: async (rows, isAbsent) => insertPart(rows, await this.#record(batch, rows, 0), isAbsent),
      confirm: async (row, reason) => this.#confirm(batch, row, reason),
      quarantine: async (row, reason) => this.#quarantine(batch, row, reason),
    });
  }

  /** Repeats the insert of a single row until the table takes it, or takes another and rejects it. */
  async #confirm(batch: Batch, row: number, first: Rejection): Promise<Answer> {
    const { ledger } = this.#attachment;
    const { neighbours } = this.#scope;
    const mayCome = this.#hooks.buffered !== undefined;
    let answer: Answer = first;
    let isTaken = false;
    await untilDone(this.#attachment, 'insert', async () => {
      isTaken = await neighbours.oneIsTaken(batch, row);
      const known = { isRecorded: false, isSplit: true, isAbsent: true };
      answer = await this.#insert(batch, { from: row, to: row + 1 }, ledger.state.pending!, known);
      if (typeof answer === 'string') return 'answered';
      if (mayCome && !isTaken) throw refusesAll(answer);
      return 'refused';
    });
    // where no later event will come, earlier ones vouch for the table; without any, a few may be all that there are
    if (typeof answer !== 'string' && !isTaken && !this.#hasTaken && this.#isUnwitnessed) throw refusesAll(answer);
    this.#isUnwitnessed ||= !isTaken;
    return answer;
  }

  async #insert(
    batch: Batch,
    rows: Rows,
    { token, atMs }: Pending,
    known: { isRecorded: boolean; isSplit: boolean; isAbsent: boolean },
  ): Promise<Answer> {
    const insert = new ReliableInsert(this.#attachment, this.#scope, { batch, rows, token, atMs, ...known });
    const answer = await insert.untilAnswered();
    if (answer === 'taken') this.#hasTaken = true;
    if (typeof answer === 'string')
      this.#attachment.readiness.measures.delivered(rows.to - rows.from, (ages) =>
        addAges(batch, rows, Date.now(), ages),
      );
    return answer;
  }

  async #quarantine(
    batch: Batch,
    row: number,
    { error: { message: reason, clickhouseCode } }: Rejection,
  ): Promise<void> {
    const { ledger, source, readiness } = this.#attachment;
    const walEnd = await ledger.quarantine({ event: eventOf(batch, row), source, reason, clickhouseCode });
    this.#hooks.onQuarantined?.(walEnd);
    readiness.measures.quarantinedOne();
  }

  async #record(batch: Batch, rows: Rows, ackable: Lsn): Promise<Pending> {
    const { ledger } = this.#attachment;
    const { delivered, pending } = ledger.state;
    const next = this.#pending(batch, rows, pending?.to ?? delivered);
    await ledger.intend(next, ackable);
    return next;
  }

  #pending(batch: Batch, rows: Rows, from: Position): Pending {
    const { ledger, source } = this.#attachment;
    const to = positionOf(batch, rows.to - 1);
    // rows are told from another insert's by it; a clock that was far ahead for once is not followed
    const now = Date.now();
    const isFollowed = this.#lastAtMs >= now && this.#lastAtMs - now < MAX_CLOCK_STEP_MS;
    const atMs = (this.#lastAtMs = isFollowed ? this.#lastAtMs + 1 : now);
    const intent: Intent = { source, timeline: ledger.timeline, atMs, from, to };
    const token = this.#hooks.tokenOf === undefined ? tokenOf(intent) : this.#hooks.tokenOf(intent, rows);
    return { to, rows: rows.to - rows.from, token, atMs };
  }
}

function refusesAll({ error: { message, clickhouseCode } }: Rejection): OutboxError {
  return new OutboxError('OUTBOX_CH_REFUSED', {
    detail: `every event that is tried is refused, alone as well: ${message}`,
    ...(clickhouseCode === undefined ? {} : { clickhouseCode }),
  });
}
