import { OutboxError, type ErrorCode } from '../../errors.ts';
import type { Config } from '../config.ts';
import type { Logger } from '../observe/log.ts';
import type { Readiness } from '../observe/readiness.ts';
import { Recurring } from '../recurring.ts';
import { Retention } from './retention.ts';
import type { RetentionReport } from './removal.ts';

const FIRST_MS = 5000;
const EVERY_MS = 3_600_000;
/** After a run that kept something. */
const AGAIN_MS = 60_000;

/**
 * Runs the retention now and then while this process streams. Whatever becomes of it, the stream goes on. What it removes is proved
 * to be delivered by a look into the ledger, so a run that outlives a takeover does no harm.
 */
export class RetentionJob {
  readonly #retention: Retention;
  readonly #isOff: boolean;
  readonly #log: Logger;
  readonly #readiness: Readiness;
  #problem: ErrorCode | undefined;
  #emptied = 0;
  #last: RetentionReport | undefined;
  readonly #turns = new Recurring(async (signal) => this.#run(signal));

  constructor(config: Config, log: Logger, readiness: Readiness) {
    this.#retention = new Retention(config);
    this.#isOff = config.retentionDays === 0;
    this.#log = log;
    this.#readiness = readiness;
  }

  /** To be called when the slot is held and the ledger is ours. */
  start(): void {
    if (!this.#isOff) this.#turns.start(FIRST_MS);
  }

  /** A run that is under way ends before its next statement, and keeps no process alive. */
  stop(): void {
    this.#turns.stop();
  }

  /** Returns after how many ms the next run is due. */
  async #run(signal: AbortSignal): Promise<number> {
    try {
      const report = await this.#retention.run({
        signal,
        onRemoved: (removed) => {
          this.#emptied++;
          this.#log.info({ ...removed }, 'removed expired events of the outbox');
        },
      });
      // what it kept was kept because it was stopped
      if (signal.aborted) return AGAIN_MS;
      this.#tell(report);
      return report.kept === undefined ? EVERY_MS : AGAIN_MS;
    } catch (error) {
      if (signal.aborted) return AGAIN_MS;
      const code = error instanceof OutboxError ? error.code : 'OUTBOX_PG_FAILED';
      if (code !== 'OUTBOX_RETENTION_BUSY') {
        this.#trouble(code, error);
        this.#say();
      }
    }
    return AGAIN_MS;
  }

  #tell(report: RetentionReport): void {
    const { kept } = report;
    if (kept !== undefined && !kept.passes)
      this.#trouble(
        'OUTBOX_RETENTION_HELD',
        new OutboxError('OUTBOX_RETENTION_HELD', { detail: `expired events stay in ${kept.table}: ${kept.reason}` }),
      );
    // a run that only met a lock has not removed what was held up, but no fault kept it from running
    else if (this.#problem !== undefined && (kept === undefined || this.#problem !== 'OUTBOX_RETENTION_HELD')) {
      this.#problem = undefined;
      this.#log.info('retention goes on');
    }
    this.#last = report;
    this.#say();
  }

  #say(): void {
    this.#readiness.retentionRan({
      ranAt: Date.now(),
      emptied: this.#emptied,
      rows: this.#last?.rows,
      bytes: this.#last?.bytes,
      oldestAt: this.#last?.oldestMs,
      problem: this.#problem,
    });
  }

  /** On transitions, never again and again. */
  #trouble(code: ErrorCode, error: unknown): void {
    if (this.#problem !== code) this.#log.warn({ err: error }, 'retention is held up');
    this.#problem = code;
  }
}
