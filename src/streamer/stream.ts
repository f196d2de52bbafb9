import { setTimeout as sleep } from 'node:timers/promises';
import { OutboxError } from '../errors.ts';
import type { ErrorCode } from '../errors.ts';
import { createBackoff } from './backoff.ts';
import { BEGUN_CHUNKS_BYTES } from './batch/batch.ts';
import { ChunkPool } from './batch/column.ts';
import type { Config } from './config.ts';
import { ClickHouse } from './clickhouse/client.ts';
import type { Insert } from './clickhouse/client.ts';
import type { Logger } from './observe/log.ts';
import type { Status } from './observe/readiness.ts';
import { Repeats } from './observe/log-throttle.ts';
import { RetentionJob } from './retention/job.ts';
import { Session } from './session.ts';
import { SlotWatch } from './source/slot-watch.ts';

const RECONNECT_BASE_MS = 200;
/** These do not pass by themselves: ask again, but not in a hurry. */
const PATIENT: ReadonlySet<ErrorCode> = new Set([
  'OUTBOX_PG_AUTH',
  'OUTBOX_PG_PRIVILEGE',
  'OUTBOX_PG_WAL_LEVEL',
  'OUTBOX_PG_VERSION',
  'OUTBOX_PG_NOT_MIGRATED',
  'OUTBOX_PG_TABLE_UNSUITABLE',
  'OUTBOX_PG_STANDBY',
  'OUTBOX_PUBLICATION_MISSING',
  'OUTBOX_PUBLICATION_CHANGED',
  'OUTBOX_SLOT_MISSING',
  'OUTBOX_SLOT_INVALID',
  'OUTBOX_SLOT_CHANGED',
  'OUTBOX_SYSTEM_CHANGED',
  'OUTBOX_REPAIR_UNFINISHED',
  'OUTBOX_POSITION_BEYOND_WAL',
  'OUTBOX_RANGE_LOST',
  'OUTBOX_PROTOCOL',
]);
const PATIENCE_MS = 5000;

/**
 * Streams until `stop` is aborted: a session after the other, each from the ledger, with growing pauses between those that
 * fail. No fault ends it: what an operator mends, it notices by itself. Returns when what was buffered is delivered.
 */
export async function stream(config: Config, log: Logger, status: Status, stop: AbortSignal): Promise<void> {
  const clickhouse = new WatchedClickHouse(config.clickhouseUrl, config.insertTimeoutMs, status);
  const pool = new ChunkPool(config.batchMaxBytes + BEGUN_CHUNKS_BYTES);
  const hasty = createBackoff({ baseMs: RECONNECT_BASE_MS, maxMs: config.retryMaxMs });
  const patient = createBackoff({ baseMs: Math.min(PATIENCE_MS, config.retryMaxMs), maxMs: config.retryMaxMs });
  const slotWatch = new SlotWatch(log, status);
  const retention = new RetentionJob(config, log, status);
  const repeats = new Repeats();
  const onAttached = (): void => {
    status.streaming();
    retention.start();
  };
  try {
    while (!stop.aborted) {
      const session = new Session({ config, clickhouse, pool, log, status, slotWatch, stop, onAttached });
      try {
        await session.run().finally(() => retention.stop());
      } catch (error) {
        const code = error instanceof OutboxError ? error.code : undefined;
        if (stop.aborted) {
          if (code === 'OUTBOX_SLOT_BUSY') return;
          log.warn({ err: error }, 'stopped before everything was delivered: the next start goes on from the ledger');
          return;
        }
        if (session.hasProgressed) {
          hasty.reset();
          patient.reset();
          repeats.end();
        }
        // somebody was faster to take a slot that had become free
        if (code === 'OUTBOX_SLOT_BUSY') {
          await sleep(RECONNECT_BASE_MS * (0.5 + Math.random()), undefined, { signal: stop }).catch(() => undefined);
          continue;
        }
        const pauseMs = (code !== undefined && PATIENT.has(code) ? patient : hasty).next();
        log[repeats.level(code ?? String(error))]({ err: error, pauseMs }, 'not streaming, will connect again');
        status.notStreaming(error);
        await sleep(pauseMs, undefined, { signal: stop }).catch(() => undefined);
      }
    }
  } finally {
    await clickhouse.close();
  }
}

/** Tells how long an insert has been waiting for its answer. */
class WatchedClickHouse extends ClickHouse {
  readonly #status: Status;

  constructor(url: string, timeoutMs: number, status: Status) {
    super(url, timeoutMs);
    this.#status = status;
  }

  override async insert(insert: Insert, signal: AbortSignal): Promise<void> {
    const answered = this.#status.inserting();
    try {
      await super.insert(insert, signal);
    } finally {
      answered();
    }
  }
}
