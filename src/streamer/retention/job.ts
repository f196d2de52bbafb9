import { OutboxError } from '../../errors.ts';
import type { ErrorCode } from '../../errors.ts';
import type { Config } from '../config.ts';
import type { Logger } from '../observe/log.ts';
import type { Status } from '../observe/readiness.ts';
import { Retention } from './retention.ts';
import type { RetentionReport } from './run.ts';

/** Half of it to one and a half, so that many streamers of one server do not come at once. */
const FIRST_MS = 5000;
const EVERY_MS = 3_600_000;
/** After a run that left something. */
const AGAIN_MS = 60_000;

/**
 * Runs the retention now and then while this process streams. Whatever becomes of it, the stream goes on; and what it removes
 * is proved to be delivered by who reads the ledger, so that one that lags behind a takeover does no harm.
 */
export class RetentionJob {
  readonly #retention: Retention;
  readonly #isOff: boolean;
  readonly #log: Logger;
  readonly #status: Status;
  readonly #comeRound = new Set<string>();
  #problem: ErrorCode | undefined;
  #emptied = 0;
  #last: RetentionReport | undefined;
  #over: AbortController | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(config: Config, log: Logger, status: Status) {
    this.#retention = new Retention(config);
    this.#isOff = config.retentionDays === 0;
    this.#log = log;
    this.#status = status;
  }

  /** To be called when the slot is held and the ledger is ours. */
  start(): void {
    this.stop();
    if (this.#isOff) return;
    this.#over = new AbortController();
    this.#runIn(FIRST_MS, this.#over.signal);
  }

  /** A run that is under way ends before its next statement, and keeps no process alive. */
  stop(): void {
    this.#over?.abort();
    clearTimeout(this.#timer);
  }

  #runIn(ms: number, signal: AbortSignal): void {
    this.#timer = setTimeout(() => void this.#run(signal), ms * (0.5 + Math.random()));
  }

  async #run(signal: AbortSignal): Promise<void> {
    let isDone = false;
    try {
      const report = await this.#retention.run({
        signal,
        onEmptied: (emptied) => {
          this.#emptied++;
          this.#log.info({ ...emptied }, 'removed expired events of the outbox');
        },
      });
      // what it left was left because it was stopped
      if (signal.aborted) return;
      isDone = report.left === undefined;
      this.#tell(report);
    } catch (error) {
      if (signal.aborted) return;
      const code = error instanceof OutboxError ? error.code : 'OUTBOX_PG_FAILED';
      if (code !== 'OUTBOX_RETENTION_BUSY') {
        this.#trouble(code, error);
        this.#say();
      }
    }
    if (!signal.aborted) this.#runIn(isDone ? EVERY_MS : AGAIN_MS, signal);
  }

  #tell(report: RetentionReport): void {
    const { left, comeRound } = report;
    for (const table of comeRound) {
      if (this.#comeRound.has(table)) continue;
      this.#log.warn({ err: new OutboxError('OUTBOX_RETENTION_RING'), table }, 'the ring has come round');
    }
    this.#comeRound.clear();
    for (const table of comeRound) this.#comeRound.add(table);
    if (left !== undefined && !left.passes)
      this.#trouble(
        'OUTBOX_RETENTION_HELD',
        new OutboxError('OUTBOX_RETENTION_HELD', { detail: `expired events stay in ${left.table}: ${left.reason}` }),
      );
    // who only met a lock has not removed what was held up, but no fault kept it from running
    else if (this.#problem !== undefined && (left === undefined || this.#problem !== 'OUTBOX_RETENTION_HELD')) {
      this.#problem = undefined;
      this.#log.info('retention goes on');
    }
    this.#last = report;
    this.#say();
  }

  #say(): void {
    this.#status.retained({
      ranAt: Date.now(),
      emptied: this.#emptied,
      rows: this.#last?.rows,
      bytes: this.#last?.bytes,
      oldestAt: this.#last?.oldestMs,
      problem: this.#problem ?? (this.#comeRound.size > 0 ? 'OUTBOX_RETENTION_RING' : undefined),
    });
  }

  /** On transitions, never again and again. */
  #trouble(code: ErrorCode, error: unknown): void {
    if (this.#problem !== code) this.#log.warn({ err: error }, 'retention is held up');
    this.#problem = code;
  }
}
