import { setTimeout as sleep } from 'node:timers/promises';
import type { Policy } from '../../error-codes/entry.ts';
import { OutboxError, policyOf } from '../../errors.ts';
import { createBackoff } from '../backoff.ts';
import { traceRetry } from '../observe/active-span.ts';
import { LogThrottle } from '../observe/log-throttle.ts';
import type { Attachment } from './attachment.ts';

const RETRY_BASE_MS = 100;
/** An attempt is sent only this shortly after the ledger has proved to be ours: a process that was away too long may have been replaced. */
export const PROOF_MAX_AGE_MS = 10_000;
/**
 * How long a token is trusted to be remembered. After it, others may have filled ClickHouse's window, and what may be there
 * already is looked for instead of sent blindly.
 */
export const TOKEN_TRUST_MS = 5 * 60_000;
/** An insert may go on in the server for a while after its time is up. */
export const INSERT_MARGIN_MS = 5000;
const REPEATED: ReadonlySet<Policy> = new Set(['repeat', 'isolate']);

type RetryScope = Pick<Attachment, 'config' | 'log' | 'readiness' | 'signal' | 'stop'> & {
  readonly ledger: Pick<Attachment['ledger'], 'provenAt' | 'prove' | 'tellRefusal'>;
};

/**
 * Repeats what ClickHouse does not answer well, for ever, with growing pauses, as long as the epoch is ours. Throws the last
 * error when a stop is asked for, and an error whose policy is neither `repeat` nor `isolate` at once.
 */
export async function untilDone(
  scope: RetryScope,
  what: string,
  attempt: () => Promise<'answered' | 'refused' | void>,
): Promise<void> {
  const { ledger, config, log, readiness, signal, stop } = scope;
  const pausing = AbortSignal.any([signal, stop]);
  const backoff = createBackoff({ baseMs: RETRY_BASE_MS, maxMs: config.retryMaxMs });
  const throttle = new LogThrottle();
  const began = performance.now();
  for (let attempts = 1; ; attempts++) {
    try {
      await proveEpoch(ledger);
      const answer = await attempt();
      readiness.clickhouseAnswered();
      if (throttle.isFailing) log.info({ attempts, ms: Math.round(performance.now() - began) }, `${what} answered`);
      if (answer !== 'refused') await ledger.tellRefusal(undefined);
      return;
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof OutboxError) || !REPEATED.has(policyOf(error.code)) || stop.aborted) throw error;
      readiness.clickhouseFailed(error.code);
      traceRetry(error, attempts);
      const pauseMs = backoff.next();
      log[throttle.level(error.code)]({ err: error, attempts, pauseMs }, `${what} failed, will be repeated`);
      await ledger.tellRefusal(error);
      await sleep(pauseMs, undefined, { signal: pausing }).catch(() => undefined);
      signal.throwIfAborted();
      if (stop.aborted) throw error;
    }
  }
}

/** Makes sure that the epoch is still ours, unless that was proved a moment ago. Throws OUTBOX_EPOCH_LOST. */
export async function proveEpoch(ledger: RetryScope['ledger']): Promise<void> {
  if (performance.now() - ledger.provenAt > PROOF_MAX_AGE_MS) await ledger.prove();
}
