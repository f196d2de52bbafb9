import { setTimeout as sleep } from 'node:timers/promises';
import { OutboxError } from '../../errors.ts';
import { createBackoff } from '../backoff.ts';
import type { Logger } from '../observe/log.ts';
import type { Status } from '../observe/readiness.ts';
import { Repeats } from '../observe/log-throttle.ts';
import type { Ledger } from '../ledger/ledger.ts';
import { traceRetry } from './trace.ts';

const RETRY_BASE_MS = 100;
/** An attempt is sent only this shortly after the ledger has proved to be ours: who was away too long may have been replaced. */
export const PROOF_MAX_AGE_MS = 10_000;

export interface RetryOptions {
  /** Whose epoch is proved before each attempt. */
  readonly ledger: Pick<Ledger, 'provenAt' | 'prove'>;
  readonly retryMaxMs: number;
  readonly log: Logger;
  readonly status: Status;
  /** Aborts everything that waits: the session is over. */
  readonly signal: AbortSignal;
  /** A graceful stop waits for the answer that is under way, but repeats nothing: the next start will. */
  readonly stop: AbortSignal;
}

/**
 * Repeats what ClickHouse does not answer well, for ever, with growing pauses, as long as the epoch is ours. Throws the last
 * refusal when a stop is asked for, and what is not ClickHouse's at once.
 */
export async function untilDone(options: RetryOptions, what: string, attempt: () => Promise<void>): Promise<void> {
  const { ledger, retryMaxMs, log, status, signal, stop } = options;
  const pausing = AbortSignal.any([signal, stop]);
  const backoff = createBackoff({ baseMs: RETRY_BASE_MS, maxMs: retryMaxMs });
  const repeats = new Repeats();
  const began = performance.now();
  for (let attempts = 1; ; attempts++) {
    try {
      await proveEpoch(ledger);
      await attempt();
      status.clickhouseAnswered(repeats);
      if (repeats.isFailing) log.info({ attempts, ms: Math.round(performance.now() - began) }, `${what} answered`);
      return;
    } catch (error) {
      signal.throwIfAborted();
      if (!isRepeated(error) || stop.aborted) throw error;
      status.clickhouseFailed(repeats, error.code);
      traceRetry(error, attempts);
      const pauseMs = backoff.next();
      log[repeats.level(error.code)]({ err: error, attempts, pauseMs }, `${what} failed, will be repeated`);
      await sleep(pauseMs, undefined, { signal: pausing }).catch(() => undefined);
      signal.throwIfAborted();
      if (stop.aborted) throw error;
    }
  }
}

/** Whether ClickHouse, or the quarantine, has to change before the same attempt can succeed; anything else ends the session. */
export function isRepeated(error: unknown): error is OutboxError {
  return error instanceof OutboxError && /^OUTBOX_(CH_|QUARANTINE_)/.test(error.code);
}

/** Makes sure that the epoch is still ours, unless that was proved a moment ago. Throws OUTBOX_EPOCH_LOST. */
export async function proveEpoch(ledger: RetryOptions['ledger']): Promise<void> {
  if (performance.now() - ledger.provenAt > PROOF_MAX_AGE_MS) await ledger.prove();
}
