import { OutboxError, type ErrorCode } from '../../errors.ts';
import { detachedIn } from '../clickhouse/absence.ts';
import { describeDetached, detachedParts } from '../clickhouse/detached-parts.ts';
import { hangingOn } from '../clickhouse/left-views.ts';
import type { Attachment } from './attachment.ts';

/** What was detached earlier is of events that Postgres has no more: the ring of its partitions is that long. */
const SINCE_MS = 32 * 86_400_000;

/** Reports what is detached of the target and beside it: a view gets no event meanwhile, events are away, and no error says so. */
export class Detached {
  readonly #scope: Pick<Attachment, 'clickhouse' | 'table' | 'log' | 'signal'>;
  /** The table itself, once it was seen. */
  #target: string | undefined;
  /** Views that were seen to hang on the table. */
  readonly #views = new Set<string>();
  readonly #databases = new Set<string>();
  readonly #told = new Map<ErrorCode, string>();

  constructor(scope: Pick<Attachment, 'clickhouse' | 'table' | 'log' | 'signal'>) {
    this.#scope = scope;
  }

  /** Throws what the questions run into. */
  async observe(): Promise<void> {
    const { clickhouse, table, signal } = this.#scope;
    const [target, ...views] = await hangingOn(clickhouse, table, signal);
    if (target !== undefined) {
      this.#target = `${target.database}.${target.name}`;
      this.#databases.add(target.database);
    }
    for (const { database, name } of views) {
      this.#views.add(`${database}.${name}`);
      this.#databases.add(database);
    }
    const detached: string[] = [];
    for (const database of this.#databases)
      for (const { name } of await detachedIn(clickhouse, database, signal)) {
        const full = `${database}.${name}`;
        // what is said of it by itself: no insert is taken
        if (full === this.#target) continue;
        detached.push(this.#views.has(full) ? `${full}, a view on the table, is detached` : `${full} is detached`);
      }
    this.#tell('OUTBOX_CH_VIEW_DETACHED', detached);
    const parts = await detachedParts(clickhouse, table, Date.now() - SINCE_MS, signal);
    this.#tell('OUTBOX_CH_PARTS_DETACHED', parts.map(describeDetached));
  }

  /** When it changes, never again and again. */
  #tell(code: ErrorCode, problems: readonly string[]): void {
    const { table, log } = this.#scope;
    if (String(problems) === (this.#told.get(code) ?? '')) return;
    this.#told.set(code, String(problems));
    if (problems.length > 0) log.warn({ err: new OutboxError(code, { problems }), table }, 'something is detached');
  }
}
