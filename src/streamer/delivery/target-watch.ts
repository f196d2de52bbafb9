import { OutboxError } from '../../errors.ts';
import type { Logger } from '../log.ts';
import type { ClickHouse } from './clickhouse.ts';
import type { DeliveryLedger } from './ledger.ts';
import { checkTarget } from './target.ts';
import type { Target } from './views.ts';

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
  #areTokensDoubtful = false;

  constructor(options: TargetWatchOptions) {
    this.#options = options;
  }

  /** As the last good look showed it. */
  get target(): Target {
    return this.#target;
  }

  /** The window was off at some time since what may be in the table was last looked for. */
  get areTokensDoubtful(): boolean {
    return this.#areTokensDoubtful;
  }

  /** What the pending insert may have left in the table was looked for: what is sent from now on will be remembered. */
  clearDoubt(): void {
    this.#areTokensDoubtful = false;
  }

  /** Throws OUTBOX_CH_NOT_MIGRATED, OUTBOX_CH_TABLE_UNSUITABLE, or what the question itself ran into. */
  async look(): Promise<void> {
    const { clickhouse, ledger, table, signal } = this.#options;
    try {
      this.#target = await checkTarget(clickhouse, table, signal);
    } catch (error) {
      // a window that was off has forgotten its tokens, also when it is on again, and whoever comes next must know
      if (error instanceof OutboxError && error.code === 'OUTBOX_CH_TABLE_UNSUITABLE') {
        this.#areTokensDoubtful = true;
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
