import { OutboxError } from '../../errors.ts';
import type { Database } from '../source/database.ts';
import { isSamePublication } from '../source/publication.ts';

/** Stands in the ledger instead of the publication's identity, so that everybody sees that the slot leads nowhere. */
const UNREADABLE = 'unreadable';

/**
 * Where a session ended because the slot's WAL cannot be read, records that: every attachment would meet the same, `status` and
 * `doctor` tell it, and only a repair clears it.
 */
export async function recordUnreadable(
  { epoch }: { readonly epoch: string },
  db: Database,
  slot: string,
  reason: unknown,
): Promise<void> {
  if (!(reason instanceof OutboxError) || reason.code !== 'OUTBOX_PG_TABLE_CHANGED') return;
  await db
    .query(
      // which table was published is still worth knowing
      "UPDATE outbox.stream SET publication = $3 || coalesce(substring(publication FROM '/[0-9]+$'), '') WHERE slot_name = $1 AND epoch = $2",
      [slot, epoch, UNREADABLE],
    )
    .catch(() => undefined); // the connection may be lost: the next session meets the same WAL
}

/** Why the slot does not stream all events, by what the ledger has of the publication and what it is now. */
export function publicationFault(recorded: string, now: string): OutboxError | undefined {
  if (isSamePublication(recorded, now)) return undefined;
  return new OutboxError(recorded.startsWith(UNREADABLE) ? 'OUTBOX_PG_TABLE_CHANGED' : 'OUTBOX_PUBLICATION_CHANGED');
}
