import { OutboxError } from '../../errors.ts';
import type { Logger } from '../observe/log.ts';
import type { ClickHouse } from '../clickhouse/client.ts';
import type { DeliveryLedger } from '../ledger/ledger.ts';
import { checkTarget } from '../clickhouse/target.ts';
import type { Target } from '../clickhouse/views.ts';

export interface TargetWatchOptions {
  readonly clickhouse: ClickHouse;
  readonly ledger: Pick<DeliveryLedger, 'state' | 'readBackUpTo'>;
  readonly table: string;
  readonly log: Logger;
  readonly signal: AbortSignal;
}

/** Keeps an eye on the table and its views: they may change at any time, and what they forget must be looked for. */
export class TargetWatch {
  readonly #options: TargetWatchOptions;
  #target: Target = { views: 0, doubtful: [], tables: [], remembersMs: Infinity };
  #warnedOf: readonly string[] = [];
  #doubts = 0;

  constructor(options: TargetWatchOptions) {
    this.#options = options;
  }

  /** As the last good look showed it. */
  get target(): Target {
    return this.#target;
  }

  /** How often the window was seen to be off: what was sent before the last time is not remembered. */
  get doubts(): number {
    return this.#doubts;
  }

  /** Throws OUTBOX_CH_NOT_MIGRATED, OUTBOX_CH_TABLE_UNSUITABLE, or what the question itself ran into. */
  async look(): Promise<void> {
    const { clickhouse, ledger, table, signal } = this.#options;
    try {
      this.#target = await checkTarget(clickhouse, table, signal);
    } catch (error) {
      // a window that was off has forgotten its tokens, also when it is on again, and whoever comes next must know
      if (error instanceof OutboxError && error.code === 'OUTBOX_CH_TABLE_UNSUITABLE') {
        this.#doubts++;
        const { pending } = ledger.state;
        if (pending !== undefined) await ledger.readBackUpTo(pending.to.lsn + 1);
      }
      throw error;
    }
    this.#warn(this.#target.doubtful);
  }

  #warn(problems: readonly string[]): void {
    if (String(problems) === String(this.#warnedOf)) return;
    this.#warnedOf = problems;
    if (problems.length > 0)
      this.#options.log.warn(
        { err: new OutboxError('OUTBOX_CH_VIEW_FORGETS', { problems }) },
        'views may count events twice',
      );
  }
}
