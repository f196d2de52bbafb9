import { OutboxError } from '../../errors.ts';
import { parseLsn, type Lsn } from '../../lsn.ts';
import { filterOf, publicationOf, shareOf } from '../share.ts';
import type { Database } from './database.ts';
import { checkEventTable, EVENT_TABLES } from './event-table.ts';
import { EVENT_COLUMNS } from './event-columns.ts';

interface PublicationRow {
  identity: string;
  pubinsert: boolean;
  pubviaroot: boolean;
  /** It names the table, or publishes all there are: both for as long as the publication is not touched. */
  named: boolean;
  columns: string[] | null;
  rowfilter: string | null;
  root: number | null;
  /** Tables below the root whose rows are not in WAL or not published, each with its kind; `inherits` is no partition. */
  unlogged: { name: string; kind: string }[];
}

/** What one check of the publication showed. */
export interface PublicationCheck {
  /** Changes whenever the publication is altered, or dropped and made again; see isSamePublication. */
  readonly identity: string;
  /** OID of outbox.event, by which the stream calls it whatever its name was meanwhile. */
  readonly rootOid: number;
  /** WAL up to here was written before the check: what it holds was published as seen. */
  readonly flushedLsn: Lsn;
}

/**
 * Whether a publication published the same all the time between two looks at it: it was not touched, or it has got another owner,
 * which explains that its row was written.
 */
export function isSamePublication(before: string, now: string): boolean {
  if (before === now) return true;
  const [was, is] = [before, now].map((identity) => /^(\d+)\.\d+\.(\d+)(?:\/(.+))?$/.exec(identity)?.slice(1));
  if (was === undefined || is === undefined) return false;
  return was[0] === is[0] && was[2] === is[2] && was[1] !== is[1];
}

/**
 * The name of the table that was published when an identity was taken, where that is another one than outbox.event now; undefined where
 * it is the same, or is there no more.
 */
export async function formerTable(db: Database, identity: string): Promise<string | undefined> {
  const { rows } = await db.query<{ name: string }>(
    `SELECT oid::regclass::text AS name FROM pg_class
      WHERE oid = $1::pg_catalog.oid AND relkind IN ('r', 'p') AND oid IS DISTINCT FROM to_regclass('outbox.event')`,
    [/\/(\d+)$/.exec(identity)?.[1] ?? '0'],
  );
  return rows[0]?.name;
}

/**
 * Makes sure that inserts of outbox.event are published for a slot: all of them, or those of its share. Since Postgres 18 a walsender only warns of a missing publication,
 * and events pass by unseen. So this is checked again and again, and nothing beyond the last good check is acknowledged
 * (invariant 8). Throws OUTBOX_PUBLICATION_MISSING; OUTBOX_PG_TABLE_UNSUITABLE where the columns are not right, and where events of
 * a partition are not in WAL.
 */
export async function checkPublication(db: Database, slot: string): Promise<PublicationCheck> {
  const { schema } = db;
  const name = publicationOf(slot, schema);
  const share = shareOf(slot);
  // first: a column that is gone has left the publication, too, and only its table can bring it back
  await checkEventTable(db);
  // a statement of its own: within one, the position might be read after the snapshot that sees the publication
  const wal = await db.query<{ lsn: string }>('SELECT pg_current_wal_flush_lsn() AS lsn');
  // not by pg_publication_tables, which waits for a lock on each table of a publication FOR ALL TABLES
  const { rows } = await db.query<PublicationRow>(
    `SELECT concat_ws('/', p.oid || '.' || p.xmin || '.' || p.pubowner, r.oid || '.' || r.xmin, to_regclass('outbox.event')::oid) AS identity,
            p.pubinsert, p.pubviaroot, p.puballtables OR r.oid IS NOT NULL AS named, to_regclass('outbox.event')::oid AS root,
            CASE WHEN NOT excepted AND (r.oid IS NOT NULL AND NOT parent_published OR (p.puballtables OR with_schema) AND NOT e.relispartition) THEN
              ARRAY(SELECT attname::text FROM pg_attribute WHERE attrelid = e.oid AND attnum > 0 AND NOT attisdropped
                       AND CASE WHEN r.prattrs IS NULL THEN attgenerated = '' ELSE attnum = ANY (r.prattrs) END)
            END AS columns,
            CASE WHEN NOT with_schema THEN pg_get_expr(r.prqual, r.prrelid) END AS rowfilter,
            ARRAY(SELECT jsonb_build_object('name', c.oid::regclass::text, 'kind', c.relkind) FROM pg_class c
                   WHERE c.oid IN ${EVENT_TABLES}
                     AND c.relkind <> 'p' AND (c.relpersistence <> 'p' OR c.relkind <> 'r')
                   UNION ALL
                  SELECT jsonb_build_object('name', inhrelid::regclass::text, 'kind', 'inherits') FROM pg_inherits i
                    JOIN pg_class parent ON parent.oid = inhparent AND parent.relkind = 'r'
                   WHERE inhparent = to_regclass('outbox.event')) AS unlogged
       FROM pg_publication p
       LEFT JOIN pg_class e ON e.oid = to_regclass('outbox.event') AND e.relkind IN ('r', 'p')
       LEFT JOIN pg_publication_rel r ON r.prpubid = p.oid AND r.prrelid = e.oid
       CROSS JOIN LATERAL (
         -- EXCEPT came with 19
         SELECT coalesce((to_jsonb(r) ->> 'prexcept')::bool, false) AS excepted,
                EXISTS (SELECT FROM pg_publication_namespace WHERE pnpubid = p.oid AND pnnspid = e.relnamespace) AS with_schema,
                EXISTS (SELECT FROM pg_partition_ancestors(e.oid) a JOIN pg_publication_rel ON prpubid = p.oid AND prrelid = a.relid
                         WHERE a.relid <> e.oid) AS parent_published) AS published
      WHERE p.pubname = $1`,
    [name],
  );
  const [found] = rows;
  const problems: string[] = [];
  if (found === undefined) problems.push(`the publication "${name}" does not exist`);
  else {
    if (!found.pubinsert) problems.push('it does not publish INSERT');
    if (!found.pubviaroot) problems.push('publish_via_partition_root is off');
    const { rowfilter } = found;
    if (share === undefined) {
      if (rowfilter !== null) problems.push('it has a row filter');
    } else if (found.columns !== null && rowfilter !== filterOf(share))
      problems.push(`its row filter is not that of share ${share.number} of ${share.count}, ${filterOf(share)}`);
    const { columns } = found;
    if (columns === null) problems.push(`${schema}.event is not in it`);
    else if (!found.named)
      problems.push(
        `${schema}.event is in it with its schema alone, which leaves no trace where it is taken out for a while`,
      );
    else
      for (const column of EVENT_COLUMNS)
        if (!columns.includes(column.name)) problems.push(`the column ${column.name} is not in it`);
  }
  if (problems.length > 0)
    throw new OutboxError('OUTBOX_PUBLICATION_MISSING', {
      detail:
        share === undefined
          ? 'the publication does not carry the events'
          : `the publication "${name}" does not carry the events of its share`,
      problems,
    });
  const { identity, root, unlogged } = found!;
  if (unlogged.length > 0)
    throw new OutboxError('OUTBOX_PG_TABLE_UNSUITABLE', {
      detail: 'events of a partition are not in WAL',
      problems: unlogged.map(({ name: table, kind }) =>
        kind === 'r'
          ? `ALTER TABLE ${table} SET LOGGED, then \`pg-outbox-clickhouse repair\``
          : kind === 'inherits'
            ? `ALTER TABLE ${table} NO INHERIT ${schema}.event: its rows are not published`
            : `${table} is no table of this server: ALTER TABLE ${schema}.event DETACH PARTITION ${table}, and attach a table`,
      ),
    });
  return { identity, rootOid: root!, flushedLsn: parseLsn(wal.rows[0]!.lsn) };
}
