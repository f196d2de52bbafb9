/** Postgres' half of `migrate`: schema, publications, slots and their ledger rows. */
import { fileURLToPath } from 'node:url';
import { readMigrationFiles } from 'drizzle-orm/migrator';
import { OutboxError } from '../../errors.ts';
import { DEFAULT_SCHEMA, inSchema } from '../../schema-name.ts';
import { createLedger } from '../ledger/lifecycle.ts';
import { refuseOthersSlot } from '../ledger/other-outboxes.ts';
import { overviewOf } from '../ledger/overview.ts';
import { refuseOtherShares } from '../ledger/shares.ts';
import { filterOf, outboxOf, publicationOf, shareOf, slotsOf } from '../share.ts';
import { lock, MIGRATION_LOCK } from '../source/advisory-lock.ts';
import type { DatabaseAccess } from '../source/access.ts';
import { Database } from '../source/database.ts';
import { postgresError } from '../source/postgres-error.ts';
import { MIGRATIONS } from '../source/event-table.ts';
import { foreignGrants } from '../source/foreign-grants.ts';
import { refuseForeign } from '../source/foreign-tables.ts';
import { EVENT_COLUMNS } from '../source/event-columns.ts';
import { adoptSlot, createSlot, untilMade } from '../source/new-slot.ts';
import { checkOwners } from '../source/owners.ts';
import { checkPublication } from '../source/publication.ts';
import { checkFailover, checkServer } from '../source/server.ts';
import { checkSlot } from '../source/slot.ts';
import { tellOf, type Report } from './migrate-clickhouse.ts';

const LOCK_WAIT_MS = 10 * 60_000;
/** SQLSTATEs of a name that something else has: duplicate_table, duplicate_object, duplicate_function. */
const NAME_TAKEN: ReadonlySet<string | undefined> = new Set(['42P07', '42710', '42723']);

/**
 * Brings Postgres to the newest schema, then makes the slot and its ledger row, in this order: what is emitted after this
 * is delivered. Of an outbox in shares, all publications, slots and rows are made. Idempotent, and safe to run twice at once. The slot is made only where the ledger has no row for it: a slot
 * that is lost is never made again (invariant 8). Throws OutboxErrors OUTBOX_PG_*, OUTBOX_SLOT_*, OUTBOX_SHARD_DIFFERS, OUTBOX_PUBLICATION_MISSING.
 *
 * @param failover makes the slot one that standbys synchronise (Postgres 17)
 */
export async function migratePostgres(
  access: string | DatabaseAccess,
  slot: string,
  report: Report,
  failover = false,
): Promise<void> {
  const db = await Database.connect(access, { queryTimeoutMs: 0 }, () => undefined);
  try {
    await checkServer(db);
    await refuseKeyWord(db);
    await lock(db, MIGRATION_LOCK, LOCK_WAIT_MS, (holder) =>
      report(`Postgres: waiting for ${holder}, which holds the lock of migrations`),
    );
    const slots = slotsOf(outboxOf(slot), shareOf(slot)?.count ?? 1);
    const { before, after } = await applyAll(db, slots);
    const isNew = before === 0;
    report(tellOf('Postgres', isNew ? 'made' : after > before ? 'updated' : 'unchanged', `the schema ${db.schema}`));
    await numberQuarantine(db);
    await refuseOtherShares(db, slot);
    for (const each of slots) {
      const isRestored = await restorePublication(db, each, report);
      if (!isRestored)
        report(tellOf('Postgres', isNew ? 'made' : 'unchanged', `the publication "${publicationOf(each, db.schema)}"`));
      // a publication is in no schema, and somebody could have made it meanwhile
      await checkOwners(db);
      await beginStream(db, access, each, { failover, isRestored }, report);
    }
    for (const { what, fix } of await foreignGrants(db))
      report(`Postgres: ${what}, beyond what roles.sql grants. If it should not: ${fix}; then run roles.sql again`);
  } finally {
    await db.close();
  }
}

/** Makes and alters all tables, or nothing. Returns how many migrations were applied before, and are now. */
async function applyAll(db: Database, slots: readonly string[]): Promise<{ before: number; after: number }> {
  await db.query('BEGIN');
  try {
    // before the check: what is not there yet could be somebody else's a moment later
    await db.query('CREATE SCHEMA IF NOT EXISTS outbox');
    await checkOwners(db);
    await refuseForeign(db);
    const counts = await applyMigrations(db, slots);
    await db.query('COMMIT');
    return counts;
  } catch (error) {
    await db.query('ROLLBACK').catch(() => undefined);
    const failure = postgresError(error);
    if (!NAME_TAKEN.has(failure.sqlState)) throw failure;
    throw new OutboxError('OUTBOX_PG_TABLE_FOREIGN', { detail: failure.message, sqlState: failure.sqlState });
  }
}

/**
 * Applies the files that were not applied yet, as drizzle's migrator would, which knows no schema but the one they are written for.
 * Returns how many were applied before, and are now.
 */
async function applyMigrations(db: Database, slots: readonly string[]): Promise<{ before: number; after: number }> {
  await db.query(
    'CREATE TABLE IF NOT EXISTS outbox.migration (id serial PRIMARY KEY, hash text NOT NULL, created_at bigint)',
  );
  const { rows } = await db.query<{ last: string; n: number }>(
    'SELECT coalesce(max(created_at), 0) AS last, count(*)::int AS n FROM outbox.migration',
  );
  const { last, n: before } = rows[0]!;
  // one of all tables publishes those that are made now, too
  if (before === 0) for (const slot of slots) await isOurs(db, publicationOf(slot, db.schema), true);
  const files = readMigrationFiles({ migrationsFolder: fileURLToPath(new URL('postgres', MIGRATIONS)) });
  const due = files.filter((file) => file.folderMillis > Number(last));
  for (const { sql, hash, folderMillis } of due) {
    for (const statement of sql)
      await db.client.query(inSchema(db.schema, statement.replaceAll(`"${DEFAULT_SCHEMA}"`, `"${db.schema}"`)));
    await db.query('INSERT INTO outbox.migration (hash, created_at) VALUES ($1, $2)', [hash, folderMillis]);
  }
  return { before, after: before + due.length };
}

/** Throws OUTBOX_CONFIG_INVALID where the schema's name is a word of SQL: in most statements it would need quotes. */
async function refuseKeyWord(db: Database): Promise<void> {
  if (db.schema === DEFAULT_SCHEMA) return;
  const { rows } = await db.query<{ plain: boolean }>('SELECT quote_ident($1) = $1 AS plain', [db.schema]);
  if (!rows[0]!.plain)
    throw new OutboxError('OUTBOX_CONFIG_INVALID', {
      problems: [`OUTBOX_SCHEMA must not be a word of SQL: "${db.schema}" is one`],
    });
}

/** Logical replication, by which a database may have moved here, leaves sequences where they were. */
async function numberQuarantine(db: Database): Promise<void> {
  await db.query(
    `SELECT setval(sequence, last) FROM pg_get_serial_sequence('outbox.quarantine', 'id') AS s, CAST(s AS regclass) AS sequence,
            (SELECT max(id) AS last FROM outbox.quarantine) AS rows
      WHERE last > coalesce(pg_sequence_last_value(sequence), 0)`,
  );
}

/**
 * Makes the publication again, or right, where somebody has dropped or altered it. A stream that was there before notices it
 * all the same (OUTBOX_PUBLICATION_CHANGED), because what was committed meanwhile is not in it. Returns whether it did.
 */
export async function restorePublication(db: Database, slot: string, report: Report): Promise<boolean> {
  const publication = publicationOf(slot, db.schema);
  const share = shareOf(slot);
  try {
    await checkPublication(db, slot);
    return false;
  } catch (error) {
    if (!(error instanceof OutboxError) || error.code !== 'OUTBOX_PUBLICATION_MISSING') throw error;
  }
  const isThere = await isOurs(db, publication);
  if (!isThere) await db.query(`CREATE PUBLICATION ${publication}`);
  const columns = EVENT_COLUMNS.map(({ name }) => name).join(', ');
  // a column list of a partitioned table wants its root to be published
  await db.query(`ALTER PUBLICATION ${publication} SET (publish = 'insert', publish_via_partition_root = true)`);
  const filter = share === undefined ? '' : ` WHERE ${filterOf(share)}`;
  await db.query(`ALTER PUBLICATION ${publication} SET TABLE outbox.event (${columns})${filter}`);
  await checkPublication(db, slot);
  report(tellOf('Postgres', isThere ? 'restored' : 'made', `the publication "${publication}"`));
  return true;
}

/**
 * Whether there is a publication of the name. Throws OUTBOX_PUBLICATION_FOREIGN where it publishes what is not ours.
 *
 * @param mayBeOfAll accepts one of all tables that publishes inserts through the root, as `checkPublication` does
 */
async function isOurs(db: Database, publication: string, mayBeOfAll = false): Promise<boolean> {
  const { rows } = await db.query<{ others: string[] }>(
    `SELECT ARRAY(SELECT prrelid::regclass::text FROM pg_publication_rel JOIN pg_class c ON c.oid = prrelid
                   WHERE prpubid = p.oid AND c.relnamespace IS DISTINCT FROM to_regnamespace('outbox')
                   UNION ALL
                  SELECT 'all tables of the schema ' || pnnspid::regnamespace FROM pg_publication_namespace WHERE pnpubid = p.oid
                     AND pnnspid IS DISTINCT FROM to_regnamespace('outbox')
                   UNION ALL SELECT 'all tables' WHERE puballtables AND NOT ($2 AND pubinsert AND pubviaroot)) AS others
       FROM pg_publication p WHERE pubname = $1`,
    [publication, mayBeOfAll],
  );
  const [found] = rows;
  if (found !== undefined && found.others.length > 0)
    throw new OutboxError('OUTBOX_PUBLICATION_FOREIGN', {
      detail: `the publication "${publication}" publishes ${found.others.slice(0, 10).join(', ')}`,
    });
  return found !== undefined;
}

/** Makes the slot and its ledger row, where they are not there. */
async function beginStream(
  db: Database,
  access: string | DatabaseAccess,
  slot: string,
  { failover, isRestored }: { readonly failover: boolean; readonly isRestored: boolean },
  report: Report,
): Promise<void> {
  const onWait = (line: string): void => report(`Postgres: the slot "${slot}" waits for ${line}`);
  await untilMade(db, slot, onWait);
  const exists = await checkSlot(db, slot);
  const ledger = await overviewOf(db, slot);
  if (ledger?.isDetached === true) {
    report(
      `Postgres: the stream of "${slot}" is detached: \`pg-outbox-clickhouse repair\` makes its slot on this server`,
    );
    return;
  }
  if (ledger !== undefined) {
    if (!exists)
      throw new OutboxError('OUTBOX_SLOT_MISSING', {
        detail: `the replication slot "${slot}" does not exist, but the ledger has a row for it`,
      });
    report(tellOf('Postgres', 'unchanged', `the slot "${slot}"`));
    report(tellOf('Postgres', 'unchanged', `the ledger row of "${slot}"`));
    return;
  }
  await refuseOthersSlot(db, slot, exists !== undefined);
  if (!exists) {
    if (failover) await checkFailover(db);
    await createSlot(access, slot, { failover, db, onWait });
    report(tellOf('Postgres', 'made', `the slot "${slot}"`));
  } else if (await adoptSlot(db, slot, isRestored))
    report(`Postgres: moved the slot "${slot}", which is older than the publication, to the end of WAL`);
  else report(tellOf('Postgres', 'unchanged', `the slot "${slot}"`));
  const earlier = await db.query('SELECT FROM outbox.event LIMIT 1');
  if (earlier.count > 0)
    report(
      `Postgres: ${db.schema}.event already holds events; those committed before the slot begins will not be delivered by the stream: \`pg-outbox-clickhouse repair\` sends them, once the streamer runs. If another slot or cluster has delivered them, follow docs/upgrading.md first`,
    );
  await createLedger(db, slot, (await checkPublication(db, slot)).identity);
  report(tellOf('Postgres', 'made', `the ledger row of "${slot}"`));
}
