import { OutboxError } from '../../errors.ts';
import { identityNow, leftViews } from '../clickhouse/left-views.ts';
import type { Attachment } from './attachment.ts';

/** Notices that another table has taken the name of the target, and which views do not see events because of that. */
export class TableIdentity {
  readonly #scope: Pick<Attachment, 'clickhouse' | 'table' | 'log' | 'signal'>;
  #known: string | undefined;

  constructor(scope: Pick<Attachment, 'clickhouse' | 'table' | 'log' | 'signal'>) {
    this.#scope = scope;
  }

  /** Throws what the questions run into. */
  async observe(): Promise<void> {
    const { clickhouse, table, log, signal } = this.#scope;
    const identity = await identityNow(clickhouse, table, signal);
    if (identity === undefined || identity === this.#known) return;
    const left = await leftViews(clickhouse, table, signal);
    const isFirst = this.#known === undefined;
    this.#known = identity;
    if (isFirst && left.length === 0) return;
    const problems = left.map(({ database, name, on }) => `${database}.${name} hangs on ${on}`);
    log.warn({ err: new OutboxError('OUTBOX_CH_TABLE_REPLACED', { problems }), table }, 'another table has the name');
  }
}
