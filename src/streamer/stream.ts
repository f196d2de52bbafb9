import { setTimeout as sleep } from 'node:timers/promises';
import { OutboxError, policyOf } from '../errors.ts';
import { createBackoff } from './backoff.ts';
import { BEGUN_CHUNKS_BYTES } from './batch/batch.ts';
import { ChunkPool } from './batch/column.ts';
import { ClickHouse } from './clickhouse/client.ts';
import { insertingOf } from './clickhouse/settings.ts';
import type { Config } from './config.ts';
import { ManifestJob } from './manifests/job.ts';
import type { Logger } from './observe/log.ts';
import { LogThrottle } from './observe/log-throttle.ts';
import type { Readiness } from './observe/readiness.ts';
import { RetentionJob } from './retention/job.ts';
import { Session } from './session.ts';
import { SlotWatch } from './source/slot-watch.ts';
import type { Slot } from './source/slot.ts';

const SOON_MS = 200;
const PATIENT_MS = 5000;

/**
 * Streams until `stop` is aborted: a session after the other, each from the ledger, with growing pauses between those that
 * fail. No error ends it: it notices by itself what an operator fixes. Returns when what was buffered is delivered.
 */
export async function stream(config: Config, log: Logger, readiness: Readiness, stop: AbortSignal): Promise<void> {
  const { retryMaxMs: maxMs } = config;
  const clickhouse = new ClickHouse(config, config.insertTimeoutMs, insertingOf(config));
  const pool = new ChunkPool(config.batchMaxBytes + BEGUN_CHUNKS_BYTES);
  const soon = createBackoff({ baseMs: SOON_MS, maxMs });
  const patient = createBackoff({ baseMs: Math.min(PATIENT_MS, maxMs), maxMs });
  const onSlot = slotObserver(log, readiness);
  const retention = new RetentionJob(config, log, readiness);
  const manifests = new ManifestJob(config, log, readiness);
  const throttle = new LogThrottle();
  const onAttached = (): void => {
    readiness.streaming();
    retention.start();
    manifests.start();
  };
  const pause = async (ms: number): Promise<void> => sleep(ms, undefined, { signal: stop }).catch(() => undefined);
  try {
    while (!stop.aborted) {
      const session = new Session({ config, clickhouse, pool, log, readiness, onSlot, stop, onAttached });
      try {
        await session.run().finally(() => {
          retention.stop();
          manifests.stop();
        });
      } catch (error) {
        const code = error instanceof OutboxError ? error.code : undefined;
        const policy = code === undefined ? 'reconnect soon' : policyOf(code);
        if (stop.aborted) {
          if (policy === 'stand by') return;
          log.warn({ err: error }, 'stopped before everything was delivered: the next start goes on from the ledger');
          return;
        }
        if (session.hasProgressed) {
          soon.reset();
          patient.reset();
          throttle.reset();
        }
        if (policy === 'stand by') {
          // another streamer was faster to take a slot that had become free
          await pause(SOON_MS * (0.5 + Math.random()));
          continue;
        }
        const pauseMs = (policy === 'reconnect patiently' ? patient : soon).next();
        log[throttle.level(code ?? String(error))]({ err: error, pauseMs }, 'not streaming, will connect again');
        readiness.notStreaming(error);
        await pause(pauseMs);
      }
    }
  } finally {
    await clickhouse.close();
  }
}

/** Tells readiness and metrics of the slot, and the log of danger: when it begins and ends, never again and again. */
function slotObserver(log: Logger, readiness: Readiness): (slot: Slot) => void {
  const watch = new SlotWatch();
  let wasEndangered = false;
  return (slot) => {
    const health = watch.observe(slot, performance.now());
    readiness.measures.slot = slot;
    readiness.slotSeen(health);
    const { endangered, ...facts } = health;
    if (endangered === wasEndangered) return;
    wasEndangered = endangered;
    if (endangered) log.error({ err: new OutboxError('OUTBOX_SLOT_ENDANGERED'), ...facts }, 'the slot is in danger');
    else log.info(facts, 'the slot is out of danger');
  };
}
