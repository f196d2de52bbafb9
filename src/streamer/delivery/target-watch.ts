import { OutboxError } from '../../errors.ts';
import { ClickHouseRefusal } from '../clickhouse/refusal.ts';
import { checkTarget } from '../clickhouse/target.ts';
import type { Target } from '../clickhouse/views.ts';
import type { Attachment } from './attachment.ts';

/** A window that was off has forgotten its tokens, and what was sent without a token has none: also when all is well again. */
const FORGOTTEN: ReadonlySet<string> = new Set(['OUTBOX_CH_TABLE_UNSUITABLE', 'OUTBOX_CH_SETTINGS_DROPPED']);

const TIMEOUT_EXCEEDED = 159;

/** Checks the table and its views again and again: they may change at any time, and what they forget must be looked for. */
export class TargetWatch {
  readonly #attachment: Pick<Attachment, 'clickhouse' | 'ledger' | 'table' | 'log' | 'signal'>;
  #target: Target = {
    identity: '',
    isReplicated: false,
    views: 0,
    broken: [],
    doubtful: [],
    tables: [],
    remembersMs: Infinity,
  };
  #warnedOf: readonly string[] = [];
  #doubts = 0;

  constructor(attachment: Pick<Attachment, 'clickhouse' | 'ledger' | 'table' | 'log' | 'signal'>) {
    this.#attachment = attachment;
  }

  /** As the last good check showed it. */
  get target(): Target {
    return this.#target;
  }

  /** How often tokens were seen to be forgotten or dropped, or the table or its server to be another: what was sent before is not remembered. */
  get doubts(): number {
    return this.#doubts;
  }

  /** Whether ClickHouse has refused an insert, and nothing of it can come to be there. */
  isDefinite(error: unknown): boolean {
    if (!(error instanceof ClickHouseRefusal) || error.isOutcomeUnknown) return false;
    // with replicas, time may be up while Keeper has the commit
    return error.clickhouseCode !== TIMEOUT_EXCEEDED || !this.#target.isReplicated;
  }

  /** Throws what checkTarget throws, and OUTBOX_CH_SETTINGS_DROPPED. */
  async check(): Promise<void> {
    const { clickhouse, ledger, table, signal } = this.#attachment;
    try {
      this.#target = await checkTarget(clickhouse, table, signal);
      await clickhouse.proveSettings(signal);
    } catch (error) {
      if (error instanceof OutboxError && FORGOTTEN.has(error.code)) {
        this.#doubts++;
        // whoever comes next must know
        const { pending } = ledger.state;
        if (pending !== undefined) await ledger.readBackUpTo(pending.to.lsn + 1);
      }
      throw error;
    }
    // a table that was filled from the former one has its rows, and not its tokens; another version may forget them
    const { identity } = this.#target;
    if (ledger.state.target !== identity) {
      if (ledger.state.target !== undefined) this.#doubts++;
      await ledger.deliverInto(identity);
    }
    this.#warn(this.#target.doubtful);
  }

  #warn(problems: readonly string[]): void {
    if (String(problems) === String(this.#warnedOf)) return;
    this.#warnedOf = problems;
    if (problems.length > 0)
      this.#attachment.log.warn(
        { err: new OutboxError('OUTBOX_CH_VIEW_FORGETS', { problems }) },
        'views may count events twice',
      );
  }
}
