import { setTimeout as sleep } from 'node:timers/promises';
import { OutboxError } from '../../errors.ts';
import type { ErrorCode } from '../../errors.ts';
import { createBackoff } from '../backoff.ts';
import type { Batch } from '../batch/batch.ts';
import { encode, INSERT_COLUMNS } from '../batch/native.ts';
import type { Logger } from '../log.ts';
import type { Status } from '../operations/status.ts';
import type { ClickHouse } from './clickhouse.ts';
import type { Ledger, Pending } from './ledger.ts';
import { formatPosition, tokenOf } from './position.ts';
import { checkTarget } from './target.ts';
import type { Views } from './target.ts';

/** An attempt is sent only this shortly after the ledger has proved to be ours: who was away too long may have been replaced. */
const PROOF_MAX_AGE_MS = 10_000;
const RETRY_BASE_MS = 100;
/** An insert may go on in the server for a while after its time is up. */
const INSERT_MARGIN_MS = 5000;
const RUNNING_POLL_MS = 500;
/**
 * How long a token is trusted to be remembered. After it, others may have filled ClickHouse's window, and what may be there
 * already is looked for instead of sent blindly.
 */
const TOKEN_TRUST_MS = 5 * 60_000;

export interface DeliveryOptions {
  readonly clickhouse: ClickHouse;
  readonly ledger: Ledger;
  readonly table: string;
  /** System identifier and slot. */
  readonly source: string;
  readonly timeline: number;
  readonly retryMaxMs: number;
  /** The longest life of one attempt. */
  readonly insertTimeoutMs: number;
  readonly log: Logger;
  readonly status: Status;
  /** Aborts everything that waits: the session is over. */
  readonly signal: AbortSignal;
  /** A graceful stop waits for the answer that is under way, but repeats nothing: the next start will. */
  readonly stop: AbortSignal;
}

/**
 * From a batch to rows in ClickHouse: intent, insert, and the same insert again until it is answered (invariants 3 and 4).
 * Errors of ClickHouse end here; errors of the ledger end the session.
 */
export class Delivery {
  readonly #options: DeliveryOptions;
  readonly #takenAt = performance.now();
  #provenAt = performance.now();
  /** When the last attempt was sent. */
  #sentAt = 0;
  #views: Views = { count: 0, doubtful: [] };
  #warnedOf: readonly string[] = [];
  /** The window was off at some time since the session began. */
  #tokensDoubtful = false;

  constructor(options: DeliveryOptions) {
    this.#options = options;
  }

  /** Waits until the target can hold events exactly once. Throws what was wrong with it when a stop is asked for. */
  async ready(): Promise<void> {
    await this.#untilDone('target check', async () => this.#checkTarget());
  }

  /** Records the intent of a batch, which settles the one before it. */
  async intend(batch: Batch): Promise<Pending> {
    const { ledger, source, timeline } = this.#options;
    const to = { lsn: batch.lastLsn, seq: batch.lastSeq };
    const { delivered, pending } = ledger.state;
    const from = pending?.to ?? delivered;
    const next: Pending = { to, rows: batch.rows, token: tokenOf(source, timeline, from, to), atMs: Date.now() };
    const asked = performance.now();
    await ledger.intend(next);
    this.#provenAt = asked;
    return next;
  }

  /**
   * Returns when ClickHouse has all rows of the intended batch, each once. `isRecorded` says that the intent is an earlier
   * session's, whose insert may be there or still under way. Throws the last refusal when a stop is asked for.
   */
  async insert(batch: Batch, { token, atMs }: Pending, isRecorded: boolean): Promise<void> {
    const { clickhouse, ledger, source, table, signal, log } = this.#options;
    const insert = {
      query: `INSERT INTO {table:Identifier} (${INSERT_COLUMNS.join(', ')}) FORMAT Native`,
      parameters: { table },
      rows: batch.rows,
      token,
      queryId: `${source}/${ledger.epoch}/${token}`,
    };
    const began = performance.now();
    let mayBeThere = isRecorded;
    let trustedFrom = atMs;
    let hasViewFailed = false;
    await this.#untilDone('insert', async () => {
      if (mayBeThere) {
        await this.#checkTarget();
        // another host's clock may have been ahead
        if (this.#tokensDoubtful || Math.abs(Date.now() - trustedFrom) > TOKEN_TRUST_MS) {
          // rows without their view's are there already; only the same token completes the view
          if ((await this.#isThere(batch.rows)) && !hasViewFailed) return;
          trustedFrom = Date.now();
          this.#tokensDoubtful = false;
        }
      }
      await this.#prove();
      mayBeThere = true;
      this.#sentAt = performance.now();
      const body = encode(batch, { source, deliveredAtMs: atMs, origin: 'stream' });
      try {
        await clickhouse.insert({ ...insert, body }, signal);
      } catch (error) {
        hasViewFailed = error instanceof OutboxError && error.code === 'OUTBOX_CH_VIEW_FAILED';
        throw error;
      }
    });
    const to = formatPosition({ lsn: batch.lastLsn, seq: batch.lastSeq });
    const ms = Math.round(performance.now() - began);
    if (batch.clamped > 0) log.warn({ rows: batch.clamped, to }, 'dates beyond DateTime64(6) were clamped');
    log.debug({ rows: batch.rows, bytes: batch.bytes, to, ms }, 'batch inserted');
  }

  async #checkTarget(): Promise<void> {
    const { clickhouse, table, signal, log } = this.#options;
    try {
      this.#views = await checkTarget(clickhouse, table, signal);
    } catch (error) {
      // a window that was off has forgotten its tokens, also when it is on again
      if (error instanceof OutboxError && error.code === 'OUTBOX_CH_TABLE_UNSUITABLE') this.#tokensDoubtful = true;
      throw error;
    }
    const problems = this.#views.doubtful;
    if (String(problems) === String(this.#warnedOf)) return;
    this.#warnedOf = problems;
    if (problems.length > 0)
      log.warn({ err: new OutboxError('OUTBOX_CH_VIEW_FORGETS', { problems }) }, 'views may count events twice');
  }

  /** Makes sure that the epoch is still ours, unless that was proved a moment ago. */
  async #prove(): Promise<void> {
    const asked = performance.now();
    if (asked - this.#provenAt <= PROOF_MAX_AGE_MS) return;
    await this.#options.ledger.prove();
    this.#provenAt = asked;
  }

  /**
   * Looks whether the pending range is in the table, once no attempt can be under way any more: neither one of ours, nor
   * one that a former holder of the ledger sent before it noticed.
   */
  async #isThere(rows: number): Promise<boolean> {
    const { clickhouse, ledger, source, table, insertTimeoutMs, signal, log } = this.#options;
    const lastSent = Math.max(this.#sentAt, this.#takenAt + PROOF_MAX_AGE_MS);
    const waitMs = lastSent + insertTimeoutMs + INSERT_MARGIN_MS - performance.now();
    log.warn(
      { waitMs: Math.max(0, Math.round(waitMs)) },
      'the token may be forgotten: the pending insert is looked for before it is repeated',
    );
    if (waitMs > 0) await this.#pause(waitMs);
    await this.#untilNoneRuns();
    const { delivered, pending } = ledger.state;
    const [found] = await clickhouse.select<{ rows: string }>(
      `SELECT toString(count()) AS rows FROM {table:Identifier}
        WHERE source = {source:String} AND lsn >= {fromLsn:UInt64} AND lsn <= {toLsn:UInt64}
          AND (lsn, seq) > ({fromLsn:UInt64}, {fromSeq:UInt64}) AND (lsn, seq) <= ({toLsn:UInt64}, {toSeq:UInt64})`,
      { table, source, fromLsn: delivered.lsn, fromSeq: delivered.seq, toLsn: pending!.to.lsn, toSeq: pending!.to.seq },
      signal,
    );
    const there = Number(found!.rows);
    if (there !== 0 && there !== rows) {
      throw new OutboxError('OUTBOX_CH_RANGE_PARTIAL', {
        detail: `${there} of the ${rows} rows of the pending insert are in ClickHouse`,
      });
    }
    log.warn({ rows, there }, 'the pending insert was looked for');
    if (there === rows && this.#views.count > 0) {
      log.error({ err: new OutboxError('OUTBOX_CH_VIEWS_UNPROVEN'), rows }, 'the pending insert is in the table');
    }
    return there === rows;
  }

  /** A former holder may have had a longer timeout than ours. */
  async #untilNoneRuns(): Promise<void> {
    const { clickhouse, source, signal } = this.#options;
    for (;;) {
      const [running] = await clickhouse.select<{ n: string }>(
        'SELECT toString(count()) AS n FROM system.processes WHERE startsWith(query_id, {source:String})',
        { source: `${source}/` },
        signal,
      );
      if (running?.n === '0') return;
      await this.#pause(RUNNING_POLL_MS);
    }
  }

  async #pause(ms: number): Promise<void> {
    const { signal, stop } = this.#options;
    await sleep(ms, undefined, { signal: AbortSignal.any([signal, stop]) }).catch(() => undefined);
    signal.throwIfAborted();
    if (stop.aborted)
      throw new OutboxError('OUTBOX_CH_UNAVAILABLE', { detail: 'stopped before the pending insert was looked for' });
  }

  async #untilDone(what: string, attempt: () => Promise<void>): Promise<void> {
    const { log, status, retryMaxMs, signal, stop } = this.#options;
    const pausing = AbortSignal.any([signal, stop]);
    const backoff = createBackoff({ baseMs: RETRY_BASE_MS, maxMs: retryMaxMs });
    let failing: ErrorCode | undefined;
    const began = performance.now();
    for (let attempts = 1; ; attempts++) {
      await this.#prove();
      try {
        await attempt();
        status.clickhouseAnswered();
        if (failing !== undefined)
          log.info({ attempts, ms: Math.round(performance.now() - began) }, `${what} succeeded`);
        return;
      } catch (error) {
        signal.throwIfAborted();
        if (!(error instanceof OutboxError) || stop.aborted) throw error;
        status.clickhouseFailed(error.code);
        const pauseMs = backoff.next();
        // on transitions, and then as often as the pauses are long
        const level = failing === error.code ? 'warn' : 'error';
        log[level]({ err: error, attempts, pauseMs }, `${what} failed, will be repeated`);
        failing = error.code;
        await sleep(pauseMs, undefined, { signal: pausing }).catch(() => undefined);
        signal.throwIfAborted();
        if (stop.aborted) throw error;
      }
    }
  }
}
