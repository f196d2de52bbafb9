import { OutboxError } from '../../errors.ts';
import type { Database } from '../source/database.ts';
import { IS_OF_ITS_DAY } from '../source/event-table.ts';

/** A bucket holds the rows of a whole day, so its oldest may be expired for so long before its youngest are. */
const LATE_MS = 86_400_000;
/** The oldest rows of a table stand where it begins. */
const FRONT_BLOCKS = 16;

/** A partition of the ring. */
export interface Leaf {
  readonly oid: string;
  /** Quoted where it needs it, with its schema. */
  readonly name: string;
  /** The same as it stands in a statement, see inSchema. */
  readonly quoted: string;
  readonly blocks: number;
  /** With indexes and what is stored out of line. */
  readonly bytes: number;
  /** As Postgres estimates. */
  readonly rows: number;
  /** When its oldest row was recorded, in ms since 1970, by its first blocks; undefined without rows. */
  readonly oldestMs: number | undefined;
  /** Its oldest row is older than the cutoff. */
  readonly isExpired: boolean;
  /** It is older than that by more than a day, and was put there on that day. */
  readonly isLate: boolean;
  readonly isPermitted: boolean;
}

interface LeafRow {
  oid: string;
  name: string;
  quoted: string;
  blocks: string;
  bytes: string;
  rows: number;
  permitted: boolean;
}

/** `now` of the server less the retention, in ms since 1970: what was recorded before it is expired. */
export async function cutoffOf(db: Database, days: number): Promise<number> {
  const { rows } = await db.query<{ ms: string }>('SELECT floor(extract(epoch FROM now()) * 1000)::text AS ms');
  return Number(rows[0]!.ms) - days * 86_400_000;
}

/**
 * The partitions of outbox.event, the oldest rows first. Throws OUTBOX_PG_NOT_MIGRATED, and OUTBOX_PG_TABLE_UNSUITABLE where it
 * is not the ring that the migration makes: retention would not know what it removes.
 */
export async function listLeaves(db: Database, cutoffMs: number): Promise<Leaf[]> {
  const { rows: tables } = await db.query<{ ring: boolean }>(
    `SELECT EXISTS (SELECT FROM pg_partitioned_table p JOIN pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0]
                     WHERE p.partrelid = c.oid AND p.partstrat = 'l' AND p.partnatts = 1 AND a.attname = 'bucket')
            AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'recorded_at'
                           AND a.atttypid = 'timestamptz'::regtype AND NOT a.attisdropped) AS ring
       FROM pg_class c WHERE c.oid = to_regclass('outbox.event')`,
  );
  const [table] = tables;
  if (table === undefined) throw new OutboxError('OUTBOX_PG_NOT_MIGRATED');
  if (!table.ring)
    throw new OutboxError('OUTBOX_PG_TABLE_UNSUITABLE', {
      detail: `${db.schema}.event is not partitioned by bucket as the migration makes it: retention removes nothing from it. Set OUTBOX_RETENTION_DAYS=0 and remove old rows yourself, or restore the table`,
    });
  const { rows } = await db.query<LeafRow>(
    `SELECT c.oid::int8::text AS oid, format('%I.%I', n.nspname, c.relname) AS name,
            format('"%s"."%s"', replace(n.nspname, '"', '""'), replace(c.relname, '"', '""')) AS quoted,
            pg_relation_size(c.oid) / current_setting('block_size')::int AS blocks, pg_total_relation_size(c.oid) AS bytes,
            greatest(c.reltuples, 0)::float8 AS rows, has_table_privilege(c.oid, 'TRUNCATE') AS permitted
       FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
      WHERE c.relkind = 'r' AND c.oid IN (SELECT relid FROM pg_partition_tree(to_regclass('outbox.event')) WHERE isleaf)
      ORDER BY name`,
  );
  const leaves: Leaf[] = [];
  for (const row of rows) {
    const blocks = Number(row.blocks);
    const oldest = blocks === 0 ? undefined : await oldestOf(db, row.quoted);
    leaves.push({
      oid: row.oid,
      name: row.name,
      quoted: row.quoted,
      blocks,
      bytes: Number(row.bytes),
      rows: Math.round(row.rows),
      oldestMs: oldest?.ms,
      isExpired: oldest !== undefined && oldest.ms < cutoffMs,
      isLate: oldest !== undefined && oldest.isOfItsDay && oldest.ms < cutoffMs - LATE_MS,
      isPermitted: row.permitted,
    });
  }
  return leaves.toSorted((a, b) => (a.oldestMs ?? Infinity) - (b.oldestMs ?? Infinity));
}

/**
 * When the oldest row was recorded, in ms since 1970, as far as the beginning of the table tells; of rows that were put there on their
 * day, if there are any.
 */
async function oldestOf(db: Database, name: string): Promise<{ ms: number; isOfItsDay: boolean } | undefined> {
  const { rows } = await db.query<{ ms: number | null; of_its_day: boolean | null }>(
    `SELECT extract(epoch FROM coalesce(min(recorded_at) FILTER (WHERE ${IS_OF_ITS_DAY}), min(recorded_at)))::float8 * 1000 AS ms,
            bool_or(${IS_OF_ITS_DAY}) AS of_its_day
       FROM (SELECT recorded_at, bucket FROM ONLY ${name} WHERE ctid < '(${FRONT_BLOCKS},0)'
              UNION ALL (SELECT recorded_at, bucket FROM ONLY ${name} LIMIT 1)) AS front`,
  );
  const { ms, of_its_day: isOfItsDay } = rows[0]!;
  return ms === null ? undefined : { ms, isOfItsDay: isOfItsDay === true };
}
