import { OutboxError } from '../../errors.ts';
import type { Lsn } from '../../lsn.ts';
import type { Database } from './database.ts';
import { checkPublication } from './publication.ts';

/**
 * Checks the publication again and again, because Postgres streams past what is not published without a word (invariant 8). The
 * publication must stay what it was when the watch began, and nothing is acknowledged beyond what a good check vouches for.
 */
export class PublicationWatch {
  readonly #db: Database;
  /** Changes whenever the publication is altered, or dropped and made again. */
  readonly identity: string;
  #checked: Lsn;
  #published: Lsn = 0;

  private constructor(db: Database, identity: string, checked: Lsn) {
    this.#db = db;
    this.identity = identity;
    this.#checked = checked;
  }

  /** Throws OUTBOX_PUBLICATION_MISSING. */
  static async begin(db: Database): Promise<PublicationWatch> {
    const { identity, flushedLsn } = await checkPublication(db);
    return new PublicationWatch(db, identity, flushedLsn);
  }

  /**
   * Nothing beyond it may be acknowledged: where WAL ended at the check before the last good one. A change whose commit is
   * in WAL, but not yet visible, is seen by the next check.
   */
  get publishedLsn(): Lsn {
    return this.#published;
  }

  /** Throws OUTBOX_PUBLICATION_MISSING or OUTBOX_PUBLICATION_CHANGED. */
  async check(): Promise<void> {
    const { identity, flushedLsn } = await checkPublication(this.#db);
    if (identity !== this.identity) throw new OutboxError('OUTBOX_PUBLICATION_CHANGED');
    this.#published = this.#checked;
    this.#checked = flushedLsn;
  }
}
