import { OutboxError } from '../../errors.ts';
import type { Lsn } from '../../lsn.ts';
import type { Batch } from '../batch/batch.ts';
import { eventOf, positionOf } from '../batch/event.ts';
import { sharesOf } from '../batch/rows.ts';
import type { Rows } from '../batch/rows.ts';
import { Repeats } from '../observe/log-throttle.ts';
import type { Pending } from '../ledger/row.ts';
import { formatPosition, tokenOfInsert } from '../../position.ts';
import type { Intent, Position } from '../../position.ts';
import { ReadBack } from './read-back.ts';
import { isRepeated, untilDone } from './retry.ts';
import { Send } from './send.ts';
import type { Intended, Refusal, SendOptions, Surroundings } from './send.ts';
import { TargetWatch } from './target-watch.ts';

export interface DeliveryOptions extends SendOptions {
  /** In how many inserts a full batch goes out at the same time. */
  readonly maxInserts: number;
  /** Makes the token of some rows of a batch. */
  readonly tokenOf: (intent: Intent, rows: Rows) => string;
  /** A batch was too large for ClickHouse's limits: the next ones should be smaller. */
  readonly onTooLarge: () => void;
  /** An event was set aside by a write that ended at this LSN. */
  readonly onQuarantined: (walEnd: Lsn) => void;
}

/** Rows that went out in an insert of their own, and what became of it: answered, or refused for good. */
interface Share {
  readonly rows: Rows;
  readonly token: string;
  readonly refusal: Refusal | undefined;
  /** ms since 1970 */
  readonly endedMs: number;
}

/** Rows that come after what is pending. */
interface Later {
  readonly rows: Rows;
  /** What this session knows of all of them. */
  readonly state: 'there' | 'absent' | 'unknown';
}

/** A refusal for good comes after a look; rows that an earlier one has found are there under other tokens. */
const stateOf = ({ isPartlyThere }: Refusal): Later['state'] => (isPartlyThere ? 'unknown' : 'absent');

/**
 * From a batch to rows in ClickHouse: intent, and an insert that is sent until it is answered (invariants 3 and 4).
 * What is refused for good is split until the event at fault stands alone, and that goes to quarantine (invariant 7).
 * Errors of ClickHouse end here; errors of the ledger end the session.
 */
export class Delivery {
  readonly #options: DeliveryOptions;
  readonly #surroundings: Surroundings;
  /** An application that sends such dates does it in every batch. */
  readonly #clamping = new Repeats();
  /** The time of the last intent. */
  #lastAtMs: number;

  constructor(options: DeliveryOptions) {
    this.#options = options;
    this.#lastAtMs = options.ledger.state.pending?.atMs ?? 0;
    this.#surroundings = {
      readBack: new ReadBack({ ...options, kind: options.origin === 'repair' ? 'repair' : 'stream' }),
      watch: new TargetWatch(options),
      takenAt: performance.now(),
    };
  }

  /**
   * Waits until the target can hold events exactly once, and `check` finds nothing wrong either. Throws what was wrong when a
   * stop is asked for.
   */
  async ready(check: () => Promise<void>): Promise<void> {
    await untilDone(this.#options, 'target check', async () => {
      await this.#surroundings.watch.look();
      await check();
    });
  }

  /** Records the intent of a batch, which settles what was pending and allows acknowledgements up to `ackable`. */
  async intend(batch: Batch, ackable: Lsn): Promise<Pending> {
    // who is not behind need not hurry, and leaves fewer parts in the table
    const inserts = batch.isFull ? Math.min(this.#options.maxInserts, batch.rows) : 1;
    return this.#intend(batch, { from: 0, to: batch.rows }, inserts, ackable);
  }

  /**
   * Returns when ClickHouse has all rows of the intended batch, each once, but for those that are in quarantine; the last part
   * is then still pending. `isRecorded` says that the intent is an earlier session's, whose inserts may be there or still
   * under way. Throws the last refusal when a stop is asked for.
   */
  async insert(batch: Batch, intent: Pending, isRecorded: boolean): Promise<void> {
    const { status, log } = this.#options;
    const began = performance.now();
    const shares = await this.#sendShares(batch, intent, isRecorded);
    const isRefused = shares.some(({ refusal }) => refusal !== undefined);
    const quarantined = isRefused ? await this.#isolate(batch, shares, intent) : 0;
    status.measures.batchDone(batch);
    const to = formatPosition({ lsn: batch.lastLsn, seq: batch.lastSeq });
    const ms = Math.round(performance.now() - began);
    if (batch.clamped > 0) {
      const level = this.#clamping.level('clamped') === 'debug' ? 'debug' : 'warn';
      log[level]({ rows: batch.clamped, to }, 'dates beyond DateTime64(6) were clamped');
    }
    if (quarantined > 0)
      log.error({ err: new OutboxError('OUTBOX_QUARANTINED'), rows: quarantined, to }, 'events are in quarantine');
    log.debug({ rows: batch.rows, bytes: batch.bytes, inserts: shares.length, to, ms }, 'batch inserted');
  }

  /** All inserts of the intended batch at the same time. */
  async #sendShares(batch: Batch, { inserts, token, atMs }: Pending, isRecorded: boolean): Promise<Share[]> {
    const { signal, stop, status } = this.#options;
    const over = new AbortController();
    const options = { ...this.#options, signal: AbortSignal.any([signal, over.signal]) };
    const shares = sharesOf({ from: 0, to: batch.rows }, inserts).map(async (rows, index): Promise<Share> => {
      const own = { batch, rows, token: tokenOfInsert(token, index, inserts), atMs };
      try {
        const refusal = await this.#send({ ...own, isRecorded, isSplit: false, isAbsent: false }, options);
        return { rows, token: own.token, refusal, endedMs: Date.now() };
      } catch (error) {
        // the session is over for all of them; but who was asked to stop waits for the others' answers
        if (!stop.aborted || !isRepeated(error)) over.abort(error);
        throw error;
      }
    });
    await Promise.allSettled(shares);
    over.signal.throwIfAborted();
    const ended = await Promise.all(shares);
    // not before: what a later session repeats would count again
    for (const { rows, refusal, endedMs } of ended)
      if (refusal === undefined) status.measures.delivered(batch, rows, endedMs);
    return ended;
  }

  /**
   * Splits what was refused until the events at fault stand alone, and sets those aside: how many. Of several inserts the first
   * alone stays pending; the others come after it, and what a successor may find there it must look for (invariant 7).
   */
  async #isolate(batch: Batch, [first, ...others]: Share[], { atMs }: Pending): Promise<number> {
    const { ledger } = this.#options;
    const behind = batch.lastLsn + 1;
    let { rows, refusal } = first!;
    if (others.length > 0) {
      const isPartlyThere = others.some((other) => other.refusal?.isPartlyThere ?? true);
      const pending = { ...this.#range(batch, rows), inserts: 1, token: first!.token, atMs };
      await ledger.recut(pending, isPartlyThere ? behind : 0);
    }
    const later: Later[] = others.toReversed().map(({ rows: own, refusal: fault }) => ({
      rows: own,
      state: fault === undefined ? 'there' : stateOf(fault),
    }));
    let quarantined = 0;
    for (;;) {
      if (refusal !== undefined && rows.to - rows.from > 1) {
        const middle = (rows.from + rows.to) >> 1;
        const state = stateOf(refusal);
        later.push({ rows: { from: middle, to: rows.to }, state });
        rows = { from: rows.from, to: middle };
        const pending = this.#pending(batch, rows, 1, ledger.state.delivered);
        await ledger.recut(pending, refusal.isPartlyThere ? behind : 0);
        refusal = await this.#sendPart(batch, rows, pending, state === 'absent');
        continue;
      }
      if (refusal !== undefined) {
        await this.#quarantine(batch, rows.from, refusal);
        quarantined++;
      }
      const next = later.pop();
      if (next === undefined) return quarantined;
      rows = next.rows;
      const pending = await this.#intend(batch, rows, 1, 0);
      const { state } = next;
      refusal = state === 'there' ? undefined : await this.#sendPart(batch, rows, pending, state === 'absent');
    }
  }

  async #sendPart(batch: Batch, rows: Rows, { token, atMs }: Pending, isAbsent: boolean): Promise<Refusal | undefined> {
    const intended = { batch, rows, token, atMs, isRecorded: false, isSplit: true, isAbsent };
    const refusal = await this.#send(intended, this.#options);
    if (refusal === undefined) this.#options.status.measures.delivered(batch, rows, Date.now());
    return refusal;
  }

  async #send(intended: Intended, options: SendOptions): Promise<Refusal | undefined> {
    const refusal = await new Send({ ...options, ...this.#surroundings }, intended).untilAnswered();
    const rows = intended.rows.to - intended.rows.from;
    if (refusal === undefined || rows === 1 || intended.isSplit) return refusal;
    this.#options.log.error({ err: refusal.error, rows }, 'an insert is refused for good, and is split');
    if (refusal.fault === 'size') this.#options.onTooLarge();
    return refusal;
  }

  async #quarantine(batch: Batch, row: number, { error: { message: reason, clickhouseCode } }: Refusal): Promise<void> {
    const { ledger, source, onQuarantined, status } = this.#options;
    onQuarantined(await ledger.quarantine({ event: eventOf(batch, row), source, reason, clickhouseCode }));
    status.measures.setAside();
  }

  async #intend(batch: Batch, rows: Rows, inserts: number, ackable: Lsn): Promise<Pending> {
    const { ledger } = this.#options;
    const { delivered, pending } = ledger.state;
    const next = this.#pending(batch, rows, inserts, pending?.to ?? delivered);
    await ledger.intend(next, ackable);
    return next;
  }

  #pending(batch: Batch, rows: Rows, inserts: number, from: Position): Pending {
    const { ledger, source, tokenOf: makeToken } = this.#options;
    const range = this.#range(batch, rows);
    // rows are told from another insert's by it
    const atMs = (this.#lastAtMs = Math.max(Date.now(), this.#lastAtMs + 1));
    const token = makeToken({ source, timeline: ledger.timeline, atMs, from, to: range.to }, rows);
    return { ...range, inserts, token, atMs };
  }

  #range(batch: Batch, rows: Rows): Pick<Pending, 'to' | 'rows'> {
    return { to: positionOf(batch, rows.to - 1), rows: rows.to - rows.from };
  }
}
