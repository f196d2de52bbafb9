import { OutboxError } from '../../errors.ts';
import { ClickHouseRefusal } from '../clickhouse/refusal.ts';
import { checkTarget } from '../clickhouse/target.ts';
import type { Target } from '../clickhouse/views.ts';
import type { Attachment } from './attachment.ts';

/** A window that was off has forgotten its tokens, and what was sent without a token has none: also when all is well again. */
const FORGOTTEN: ReadonlySet<string> = new Set([
  'OUTBOX_CH_TABLE_UNSUITABLE',
  'OUTBOX_CH_SETTINGS_DROPPED',
  'OUTBOX_CH_SEVERAL_SERVERS',
]);
/** So often in a row, another server is not one that has taken the place of another. */
export const MANY_TURNS = 2;

const TIMEOUT_EXCEEDED = 159;
const MAX_NAMED = 10;

/** Checks the table and its views again and again: they may change at any time, and what they forget must be looked for. */
export class TargetWatch {
  readonly #attachment: Pick<Attachment, 'clickhouse' | 'ledger' | 'table' | 'log' | 'signal'>;
  #target: Target = {
    identity: '',
    isReplicated: false,
    expiresAtOnce: false,
    views: [],
    broken: [],
    doubtful: [],
    tables: [],
    remembersMs: Infinity,
  };
  #warnedOf: readonly string[] = [];
  #doubts = 0;
  #isSuspect = false;
  /** Of the servers, at the last good check. */
  #turns = 0;

  constructor(attachment: Pick<Attachment, 'clickhouse' | 'ledger' | 'table' | 'log' | 'signal'>) {
    this.#attachment = attachment;
  }

  /** As the last good check showed it. */
  get target(): Target {
    return this.#target;
  }

  /** One of these has failed where rows of a rejected insert are in the table. */
  get views(): string[] {
    const { views } = this.#target;
    const more = views.length - MAX_NAMED;
    return [
      ...views.slice(0, MAX_NAMED).map((name) => `on the table: ${name}`),
      ...(more > 0 ? [`… and ${more} more`] : []),
    ];
  }

  /** How often tokens were seen to be forgotten or dropped, or the table or its server to be another: what was sent before is not remembered. */
  get doubts(): number {
    return this.#doubts;
  }

  /** Since the last good check, servers that do not replicate the table seem to have taken turns. */
  get isTurning(): boolean {
    return !this.#target.isReplicated && this.#attachment.clickhouse.turns - this.#turns >= MANY_TURNS;
  }

  /** The last look showed another target than the last good check, or that something is wrong with it. */
  get isSuspect(): boolean {
    return this.#isSuspect;
  }

  /** Looks while no insert waits for it: what has changed is checked before the next one. Throws what checkTarget throws. */
  async observe(): Promise<void> {
    const { clickhouse, ledger, table, signal } = this.#attachment;
    // the first check is under way, or to be made anyway
    if (this.#target.identity === '') return;
    try {
      const { identity } = await checkTarget(clickhouse, table, signal);
      if (identity !== ledger.state.target) this.#isSuspect = true;
    } catch (error) {
      this.#isSuspect = true;
      throw error;
    }
  }

  /** Whether ClickHouse has refused an insert, and nothing of it can come to be there. */
  isDefinite(error: unknown): boolean {
    if (!(error instanceof ClickHouseRefusal) || error.isOutcomeUnknown) return false;
    // with replicas, time may be up while Keeper has the commit
    return error.clickhouseCode !== TIMEOUT_EXCEEDED || !this.#target.isReplicated;
  }

  /** Throws what checkTarget throws, OUTBOX_CH_SETTINGS_DROPPED, and OUTBOX_CH_SEVERAL_SERVERS. */
  async check(): Promise<void> {
    const { clickhouse, ledger, table, signal } = this.#attachment;
    this.#turns = clickhouse.turns;
    try {
      this.#target = await checkTarget(clickhouse, table, signal);
      await clickhouse.proveSettings(signal);
      if (this.isTurning) throw new OutboxError('OUTBOX_CH_SEVERAL_SERVERS');
    } catch (error) {
      if (error instanceof OutboxError && FORGOTTEN.has(error.code)) {
        this.#doubts++;
        // whoever comes next must know
        const { pending } = ledger.state;
        if (pending !== undefined) await ledger.readBackUpTo(pending.to.lsn + 1);
      }
      throw error;
    }
    this.#isSuspect = false;
    const { identity } = this.#target;
    const { target: former } = ledger.state;
    if (former !== identity) {
      if (former !== undefined && mayHaveForgotten(former, identity)) this.#doubts++;
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

/**
 * Whether something has taken the place of what remembered tokens: a table that was filled from the former one has its rows, and not its
 * tokens; another version may forget them. A view that has come or gone leaves to the others what they remember.
 */
function mayHaveForgotten(former: string, identity: string): boolean {
  const [before, now] = [former.split(' '), identity.split(' ')];
  return before.some((part) => !now.includes(part)) && now.some((part) => !before.includes(part));
}
