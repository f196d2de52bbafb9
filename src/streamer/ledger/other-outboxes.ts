import { OutboxError } from '../../errors.ts';
import { outboxOf } from '../share.ts';
import type { Database } from '../source/database.ts';

/** In a statement as it is: see inSchema. */
const quoted = (name: string): string => `"${name.replaceAll('"', '""')}"`;

interface Other {
  schema: string;
  readable: boolean;
}

/** Ledgers of other outboxes in this database. */
async function othersOf(db: Database): Promise<Other[]> {
  const { rows } = await db.query<Other>(
    `SELECT n.nspname AS schema, has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT') AS readable
       FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
      WHERE c.relname = 'stream' AND c.relkind = 'r' AND n.oid IS DISTINCT FROM to_regnamespace('outbox')
        AND (SELECT count(*) FROM pg_attribute WHERE attrelid = c.oid AND attname IN ('slot_name', 'epoch', 'acked_lsn')) = 3
      ORDER BY 1`,
  );
  return rows;
}

/**
 * Throws OUTBOX_SLOT_INVALID where a slot that has no row in this ledger is another outbox's, or one of its shares': what is made, moved or
 * dropped for this outbox would be a gap in that one.
 *
 * @param exists the slot, which may then be that of a ledger that this role may not read
 */
export async function refuseOthersSlot(db: Database, slot: string, exists: boolean): Promise<void> {
  for (const { schema, readable } of await othersOf(db)) {
    if (!readable && exists)
      throw othersSlot(slot, `may be that of the schema "${schema}", whose ledger this role may not read`);
    if (!readable) continue;
    const { count } = await db.query(
      `SELECT FROM ${quoted(schema)}.stream WHERE slot_name = $1 OR slot_name ~ ('^' || $1 || '_[0-9]+_of_[0-9]+$')`,
      [outboxOf(slot)],
    );
    if (count > 0) throw othersSlot(slot, `is that of the outbox in the schema "${schema}"`);
  }
}

function othersSlot(slot: string, why: string): OutboxError {
  return new OutboxError('OUTBOX_SLOT_INVALID', {
    detail: `the slot "${slot}" ${why}: set another OUTBOX_SLOT`,
  });
}
