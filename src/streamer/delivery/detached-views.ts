import { OutboxError } from '../../errors.ts';
import { detachedIn } from '../clickhouse/absence.ts';
import { hangingOn } from '../clickhouse/left-views.ts';
import type { Attachment } from './attachment.ts';

/** Reports tables and views that somebody has detached beside the target: a view gets no event meanwhile, and no error says so. */
export class DetachedViews {
  readonly #scope: Pick<Attachment, 'clickhouse' | 'table' | 'log' | 'signal'>;
  /** Views that were seen to hang on the table. */
  readonly #views = new Set<string>();
  readonly #databases = new Set<string>();
  #told = '';

  constructor(scope: Pick<Attachment, 'clickhouse' | 'table' | 'log' | 'signal'>) {
    this.#scope = scope;
  }

  /** Throws what the questions run into. */
  async observe(): Promise<void> {
    const { clickhouse, table, log, signal } = this.#scope;
    for (const { database, name } of await hangingOn(clickhouse, table, signal)) {
      this.#views.add(`${database}.${name}`);
      this.#databases.add(database);
    }
    const problems: string[] = [];
    for (const database of this.#databases)
      for (const { name } of await detachedIn(clickhouse, database, signal)) {
        const full = `${database}.${name}`;
        problems.push(this.#views.has(full) ? `${full}, a view on the table, is detached` : `${full} is detached`);
      }
    if (String(problems) === this.#told) return;
    this.#told = String(problems);
    if (problems.length === 0) return;
    log.warn({ err: new OutboxError('OUTBOX_CH_VIEW_DETACHED', { problems }), table }, 'views may be detached');
  }
}
