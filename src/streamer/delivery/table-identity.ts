import { OutboxError } from '../../errors.ts';
import type { Position } from '../../position.ts';
import { identityNow, leftViews } from '../clickhouse/left-views.ts';
import type { Ledger } from '../ledger/ledger.ts';
import type { Attachment } from './attachment.ts';
import { detectLedgerAhead } from './ledger-ahead.ts';
import { MANY_TURNS } from './target-watch.ts';

/** Notices that another table has taken the name of the target, which views do not see events because of that, and what the table lacks. */
export class TableIdentity {
  readonly #scope: Pick<Attachment, 'clickhouse' | 'table' | 'source' | 'log' | 'readiness' | 'signal'>;
  readonly #ledger: Pick<Ledger, 'state' | 'movedAtMs' | 'isAside'>;
  /** As it was last seen, and what was delivered into it by then. */
  #known: { readonly identity: string; readonly delivered: Position } | undefined;
  /** Of the servers, at the last look. */
  #turns: number;
  #isTurning = false;
  /** It is said that this table lacks something: once. */
  #lacks = false;

  constructor(
    scope: Pick<Attachment, 'clickhouse' | 'table' | 'source' | 'log' | 'readiness' | 'signal'>,
    ledger: Pick<Ledger, 'state' | 'movedAtMs' | 'isAside'>,
  ) {
    this.#scope = scope;
    this.#turns = scope.clickhouse.turns;
    this.#ledger = ledger;
  }

  /** Throws what the questions run into. */
  async observe(): Promise<void> {
    const { clickhouse, table, log, signal } = this.#scope;
    const { delivered } = this.#ledger.state;
    const { turns } = clickhouse;
    const now = await identityNow(clickhouse, table, signal);
    if (now === undefined) return;
    const { identity, expires } = now;
    const wasTurning = this.#isTurning;
    this.#isTurning = !now.isReplicated && turns - this.#turns >= MANY_TURNS;
    this.#turns = turns;
    // each has a table of its own: what one of them lacks, or how it differs, says nothing
    if (this.#isTurning) {
      if (!wasTurning) log.error({ err: new OutboxError('OUTBOX_CH_SEVERAL_SERVERS'), table }, 'servers take turns');
      return;
    }
    const known = this.#known;
    if (identity === known?.identity) {
      // a table that is emptied, or set back to an older state, is the same one
      if (!this.#lacks && !expires) this.#lacks = await detectLedgerAhead(this.#scope, this.#ledger, known.delivered);
      this.#known = { identity, delivered };
      return;
    }
    const left = await leftViews(clickhouse, table, signal);
    this.#known = { identity, delivered };
    if (known === undefined && left.length === 0) return;
    const problems = left.map(({ database, name, on }) => `${database}.${name} hangs on ${on}`);
    log.warn({ err: new OutboxError('OUTBOX_CH_TABLE_REPLACED', { problems }), table }, 'another table has the name');
    this.#lacks = known !== undefined && (await detectLedgerAhead(this.#scope, this.#ledger, known.delivered));
  }
}
