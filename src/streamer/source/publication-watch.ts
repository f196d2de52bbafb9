import { OutboxError } from '../../errors.ts';
import type { Lsn } from '../../lsn.ts';
import type { Database } from './database.ts';
import { checkPublication } from './publication.ts';

/**
 * Keeps an eye on the publication, because Postgres streams past what is not published without a word (invariant 8): it
 * must stay what it was when the watch began, and what may be acknowledged is capped at what a good look vouches for.
 */
export class PublicationWatch {
  readonly #db: Database;
  /** Changes whenever the publication is altered, or dropped and made again. */
  readonly identity: string;
  #looked: Lsn;
  #published: Lsn = 0;

  private constructor(db: Database, identity: string, looked: Lsn) {
    this.#db = db;
    this.identity = identity;
    this.#looked = looked;
  }

  /** Throws OUTBOX_PUBLICATION_MISSING. */
  static async begin(db: Database): Promise<PublicationWatch> {
    const { identity, flushedLsn } = await checkPublication(db);
    return new PublicationWatch(db, identity, flushedLsn);
  }

  /**
   * Nothing beyond it may be acknowledged: where WAL ended at the look before the last good one. A change whose commit is
   * in WAL, but not yet visible, is seen by the next look.
   */
  get publishedLsn(): Lsn {
    return this.#published;
  }

  /** Throws OUTBOX_PUBLICATION_MISSING or OUTBOX_PUBLICATION_CHANGED. */
  async look(): Promise<void> {
    const { identity, flushedLsn } = await checkPublication(this.#db);
    if (identity !== this.identity) throw new OutboxError('OUTBOX_PUBLICATION_CHANGED');
    this.#published = this.#looked;
    this.#looked = flushedLsn;
  }
}
