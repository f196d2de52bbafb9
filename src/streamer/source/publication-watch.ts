import { OutboxError } from '../../errors.ts';
import type { Lsn } from '../../lsn.ts';
import type { Database } from './database.ts';
import { checkPublication, isSamePublication, type PublicationCheck } from './publication.ts';

/**
 * Checks the publication again and again, because Postgres streams past what is not published without a word (invariant 8). The
 * publication must stay what it was when the watch began, and nothing is acknowledged beyond what a good check vouches for.
 */
export class PublicationWatch {
  readonly #db: Database;
  readonly #slot: string;
  /** See PublicationCheck. */
  readonly rootOid: number;
  #identity: string;
  #checked: Lsn;
  #published: Lsn = 0;

  private constructor(db: Database, slot: string, first: PublicationCheck) {
    this.#db = db;
    this.#slot = slot;
    this.#identity = first.identity;
    this.rootOid = first.rootOid;
    this.#checked = first.flushedLsn;
  }

  /** Throws OUTBOX_PUBLICATION_MISSING or OUTBOX_PG_TABLE_UNSUITABLE. */
  static async begin(db: Database, slot: string): Promise<PublicationWatch> {
    return new PublicationWatch(db, slot, await look(db, slot));
  }

  /** See PublicationCheck. */
  get identity(): string {
    return this.#identity;
  }

  /**
   * Nothing beyond it may be acknowledged: where WAL ended at the check before the last good one. A change whose commit is
   * in WAL, but not yet visible, is seen by the next check.
   */
  get publishedLsn(): Lsn {
    return this.#published;
  }

  /** Throws OUTBOX_PUBLICATION_MISSING, OUTBOX_PUBLICATION_CHANGED or OUTBOX_PG_TABLE_UNSUITABLE. */
  async check(): Promise<void> {
    const { identity, flushedLsn } = await look(this.#db, this.#slot);
    if (!isSamePublication(this.#identity, identity)) throw new OutboxError('OUTBOX_PUBLICATION_CHANGED');
    if (identity !== this.#identity) {
      await this.#db.query('UPDATE outbox.stream SET publication = $2 WHERE slot_name = $1 AND publication = $3', [
        this.#slot,
        identity,
        this.#identity,
      ]);
      this.#identity = identity;
    }
    this.#published = this.#checked;
    this.#checked = flushedLsn;
  }
}

/** Events that are not in WAL are a gap, also when the partition is logged again before anybody looks: only `repair` clears it. */
async function look(db: Database, slot: string): Promise<PublicationCheck> {
  try {
    return await checkPublication(db, slot);
  } catch (error) {
    if (error instanceof OutboxError && error.code === 'OUTBOX_PG_TABLE_UNSUITABLE')
      await db.query("UPDATE outbox.stream SET publication = 'not logged' WHERE slot_name = $1", [slot]);
    throw error;
  }
}

/** A walsender misses a publication that is there, where WAL was written before it was made again: only `repair` leads on. */
export async function explained(reason: unknown, db: Database | undefined, slot: string): Promise<unknown> {
  if (!(reason instanceof OutboxError) || reason.code !== 'OUTBOX_PUBLICATION_MISSING' || db === undefined)
    return reason;
  const isThere = await checkPublication(db, slot).then(
    () => true,
    () => false,
  );
  return isThere ? new OutboxError('OUTBOX_PUBLICATION_CHANGED', { cause: reason }) : reason;
}
