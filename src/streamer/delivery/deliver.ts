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

/** An attempt is sent only this shortly after the ledger has proved to be ours: who was away too long may have been replaced. */
const PROOF_MAX_AGE_MS = 10_000;
const RETRY_BASE_MS = 100;

export interface DeliveryOptions {
  readonly clickhouse: ClickHouse;
  readonly ledger: Ledger;
  readonly table: string;
  /** System identifier and slot. */
  readonly source: string;
  readonly timeline: number;
  readonly retryMaxMs: number;
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
  #provenAt = performance.now();

  constructor(options: DeliveryOptions) {
    this.#options = options;
  }

  /** Waits until the target can hold events exactly once. Throws what was wrong with it when a stop is asked for. */
  async ready(): Promise<void> {
    const { clickhouse, table, signal } = this.#options;
    await this.#untilDone('target check', () => checkTarget(clickhouse, table, signal));
  }

  /**
   * Records the intent, which settles the insert before it, then inserts. A batch that repeats the pending range needs no
   * new intent: it has the recorded token and time.
   */
  async intend(batch: Batch): Promise<Pending> {
    const { ledger, source, timeline } = this.#options;
    const to = { lsn: batch.lastLsn, seq: batch.lastSeq };
    const { delivered, pending } = ledger.state;
    const from = pending?.to ?? delivered;
    const next: Pending = { to, rows: batch.rows, token: tokenOf(source, timeline, from, to), atMs: Date.now() };
    await ledger.intend(next);
    this.#provenAt = performance.now();
    return next;
  }

  /** Returns when ClickHouse has all rows of the batch, each once. Throws the last refusal when a stop is asked for. */
  async insert(batch: Batch, { token, atMs }: Pending): Promise<void> {
    const { clickhouse, ledger, source, table, signal, log } = this.#options;
    const constants = { source, deliveredAtMs: atMs, origin: 'stream' };
    const began = performance.now();
    await this.#untilDone('insert', () =>
      clickhouse.insert(
        {
          query: `INSERT INTO {table:Identifier} (${INSERT_COLUMNS.join(', ')}) FORMAT Native`,
          parameters: { table },
          body: encode(batch, constants),
          rows: batch.rows,
          token,
          queryId: `${source}/${ledger.epoch}/${token}`,
        },
        signal,
      ),
    );
    const to = formatPosition({ lsn: batch.lastLsn, seq: batch.lastSeq });
    const ms = Math.round(performance.now() - began);
    if (batch.clamped > 0) log.warn({ rows: batch.clamped, to }, 'dates beyond DateTime64(6) were clamped');
    log.debug({ rows: batch.rows, bytes: batch.bytes, to, ms }, 'batch inserted');
  }

  async #untilDone(what: string, attempt: () => Promise<void>): Promise<void> {
    const { ledger, log, status, retryMaxMs, signal, stop } = this.#options;
    const pausing = AbortSignal.any([signal, stop]);
    const backoff = createBackoff({ baseMs: RETRY_BASE_MS, maxMs: retryMaxMs });
    let failing: ErrorCode | undefined;
    const began = performance.now();
    for (let attempts = 1; ; attempts++) {
      if (performance.now() - this.#provenAt > PROOF_MAX_AGE_MS) {
        await ledger.prove();
        this.#provenAt = performance.now();
      }
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
