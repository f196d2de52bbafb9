import { OutboxError } from '../../errors.ts';
import type { Database } from './database.ts';
import { EVENT_COLUMNS } from './event-columns.ts';

/** By which the tables of this program are known, whatever else a version of it adds. */
const OWN: Readonly<Record<string, readonly string[]>> = {
  event: EVENT_COLUMNS.map(({ name }) => name),
  stream: ['slot_name', 'system_id', 'epoch', 'delivered_lsn'],
  quarantine: ['slot_name', 'event_id', 'event_type', 'event_context'],
  manifest: ['source', 'number', 'witnessed', 'previous', 'hash'],
  erasure: ['id', 'filter', 'reason', 'ended_at', 'tombstones'],
  migration: ['id', 'hash', 'created_at'],
};

/** Throws OUTBOX_PG_TABLE_FOREIGN where a table of the schema outbox lacks most columns of ours: no ALTER would make it that. */
export async function refuseForeign(db: Database): Promise<void> {
  const { rows } = await db.query<{ name: string; has: number; of: number }>(
    `SELECT c.relname AS name, count(a.attname)::int AS has, jsonb_array_length(own.columns) AS of
       FROM jsonb_each($1::jsonb) AS own (name, columns)
       JOIN pg_class c ON c.relname = own.name AND c.relnamespace = to_regnamespace('outbox') AND c.relkind <> 'i'
       LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND own.columns ? a.attname::text
      GROUP BY c.relname, own.columns HAVING count(a.attname) < jsonb_array_length(own.columns) / 2.0 ORDER BY c.relname`,
    [JSON.stringify(OWN)],
  );
  if (rows.length === 0) return;
  throw new OutboxError('OUTBOX_PG_TABLE_FOREIGN', {
    detail: `tables of the schema ${db.schema} are not this program’s`,
    problems: rows.map(
      ({ name, has, of }) => `${db.schema}.${name} has ${has} of the ${of} columns by which it would be known`,
    ),
  });
}
