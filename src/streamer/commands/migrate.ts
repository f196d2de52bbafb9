import { fileURLToPath } from 'node:url';
import { drizzle } from 'drizzle-orm/node-postgres';
import { migrate as applyMigrations } from 'drizzle-orm/node-postgres/migrator';
import { OutboxError } from '../../errors.ts';
import { oneLine } from '../../one-line.ts';
import { readConfig } from '../config.ts';
import { createLedger } from '../ledger/lifecycle.ts';
import { overviewOf } from '../ledger/overview.ts';
import { lock } from '../source/advisory-lock.ts';
import { Database, postgresError } from '../source/database.ts';
import { MIGRATIONS } from '../source/event-table.ts';
import { refuseForeign } from '../source/foreign-tables.ts';
import { EVENT_COLUMNS } from '../source/pgoutput.ts';
import { adoptSlot, createSlot, untilMade } from '../source/new-slot.ts';
import { checkOwners } from '../source/owners.ts';
import { checkPublication, PUBLICATION } from '../source/publication.ts';
import { checkFailover, checkServer } from '../source/server.ts';
import { checkSlot } from '../source/slot.ts';
import { migrateClickHouse, refuseForeignTable, type Report } from './migrate-clickhouse.ts';
import { parseUsage } from './usage.ts';

/** Any number will do, as long as every version of this program takes the same. */
const ADVISORY_LOCK = 0x6f7574626f78;
const LOCK_WAIT_MS = 10 * 60_000;
/** SQLSTATEs of a name that something else has: duplicate_table, duplicate_object, duplicate_function. */
const NAME_TAKEN: ReadonlySet<string | undefined> = new Set(['42P07', '42710', '42723']);

const HELP = `Usage: pg-outbox-clickhouse migrate [--json]

Brings both databases to the newest schema, restores the publication, and makes the slot where there never was one. Changes
nothing that is right already; may be run while streamers run.

Options
  --json   one JSON document on stdout: { "done": [ … ] }

Exit codes
  0 up to date   1 failed   2 wrong usage or configuration
`;

/** `pg-outbox-clickhouse migrate`: returns the exit code. Throws what the two migrations throw, and OUTBOX_CONFIG_INVALID. */
export async function migrateCommand(args: string[], env: NodeJS.ProcessEnv): Promise<number> {
  const usage = parseUsage(args, { options: { json: { type: 'boolean', default: false } }, help: HELP });
  if (typeof usage === 'number') return usage;
  const { databaseUrl, clickhouseUrl, clickhouseTable, clickhouseCluster, slot, slotFailover } = readConfig(env);
  const done: string[] = [];
  const report: Report = (line) => {
    done.push(line);
    if (!usage.values.json) process.stdout.write(`${oneLine(line)}\n`);
  };
  await refuseForeignTable(clickhouseUrl, clickhouseTable);
  await migratePostgres(databaseUrl, slot, report, slotFailover === 'on');
  await migrateClickHouse(clickhouseUrl, { table: clickhouseTable, cluster: clickhouseCluster }, report);
  if (usage.values.json) process.stdout.write(`${JSON.stringify({ done }, null, 2)}\n`);
  return 0;
}

/**
 * Brings Postgres to the newest schema, then makes the slot and its ledger row, in this order: what is emitted after this
 * is delivered. Idempotent, and safe to run twice at once. The slot is made only where the ledger has no row for it: a slot
 * that is lost is never made again (invariant 8). Throws OutboxErrors OUTBOX_PG_*, OUTBOX_SLOT_*, OUTBOX_PUBLICATION_MISSING.
 *
 * @param failover makes the slot one that standbys synchronise (Postgres 17)
 */
export async function migratePostgres(url: string, slot: string, report: Report, failover = false): Promise<void> {
  const db = await Database.connect(url, { queryTimeoutMs: 0 }, () => undefined);
  try {
    await checkServer(db);
    await lock(db, ADVISORY_LOCK, LOCK_WAIT_MS, (holder) => report(`Postgres: waiting for ${holder}, which migrates`));
    await applyAll(db);
    report('Postgres: schema outbox is up to date');
    const isRestored = await restorePublication(db, report);
    await beginStream(db, url, slot, { failover, isRestored }, report);
  } finally {
    await db.close();
  }
}

/** Makes and alters all tables, or nothing. */
async function applyAll(db: Database): Promise<void> {
  // drizzle makes its own table outside its transaction; within this one, what fails leaves nothing behind
  await db.query('BEGIN');
  try {
    // before the check: what is not there yet could be somebody else's a moment later
    await db.query('CREATE SCHEMA IF NOT EXISTS outbox');
    await checkOwners(db);
    await refuseForeign(db);
    await applyMigrations(drizzle({ client: db.client }), {
      migrationsFolder: fileURLToPath(new URL('postgres', MIGRATIONS)),
      migrationsSchema: 'outbox',
      migrationsTable: 'migration',
    });
    await db.query('COMMIT');
  } catch (error) {
    await db.query('ROLLBACK').catch(() => undefined);
    // drizzle wraps the driver's error
    const failure = postgresError(error instanceof Error && error.cause !== undefined ? error.cause : error);
    if (!NAME_TAKEN.has(failure.sqlState)) throw failure;
    throw new OutboxError('OUTBOX_PG_TABLE_FOREIGN', { detail: failure.message, sqlState: failure.sqlState });
  }
}

/**
 * Makes the publication again, or right, where somebody has dropped or altered it. A stream that was there before notices it
 * all the same (OUTBOX_PUBLICATION_CHANGED), because what was committed meanwhile is not in it. Returns whether it did.
 */
async function restorePublication(db: Database, report: Report): Promise<boolean> {
  try {
    await checkPublication(db);
    return false;
  } catch (error) {
    if (!(error instanceof OutboxError) || error.code !== 'OUTBOX_PUBLICATION_MISSING') throw error;
  }
  if (!(await isOurs(db))) await db.query(`CREATE PUBLICATION ${PUBLICATION}`);
  const columns = EVENT_COLUMNS.map(({ name }) => name).join(', ');
  // a column list of a partitioned table wants its root to be published
  await db.query(`ALTER PUBLICATION ${PUBLICATION} SET (publish = 'insert', publish_via_partition_root = true)`);
  await db.query(`ALTER PUBLICATION ${PUBLICATION} SET TABLE outbox.event (${columns})`);
  await checkPublication(db);
  report(`Postgres: restored the publication "${PUBLICATION}"`);
  return true;
}

/** Whether there is a publication of the name. Throws OUTBOX_PUBLICATION_FOREIGN where it publishes what is not ours. */
async function isOurs(db: Database): Promise<boolean> {
  const { rows } = await db.query<{ others: string[] }>(
    `SELECT ARRAY(SELECT prrelid::regclass::text FROM pg_publication_rel JOIN pg_class c ON c.oid = prrelid
                   WHERE prpubid = p.oid AND c.relnamespace IS DISTINCT FROM to_regnamespace('outbox')
                   UNION ALL
                  SELECT 'all tables of the schema ' || pnnspid::regnamespace FROM pg_publication_namespace WHERE pnpubid = p.oid
                     AND pnnspid IS DISTINCT FROM to_regnamespace('outbox')
                   UNION ALL SELECT 'all tables' WHERE puballtables) AS others
       FROM pg_publication p WHERE pubname = $1`,
    [PUBLICATION],
  );
  const [found] = rows;
  if (found !== undefined && found.others.length > 0)
    throw new OutboxError('OUTBOX_PUBLICATION_FOREIGN', {
      detail: `the publication "${PUBLICATION}" publishes ${found.others.slice(0, 10).join(', ')}`,
    });
  return found !== undefined;
}

/** Makes the slot and its ledger row, where they are not there. */
async function beginStream(
  db: Database,
  url: string,
  slot: string,
  { failover, isRestored }: { readonly failover: boolean; readonly isRestored: boolean },
  report: Report,
): Promise<void> {
  const onWait = (line: string): void => report(`Postgres: the slot "${slot}" waits for ${line}`);
  await untilMade(db, slot, onWait);
  const exists = await checkSlot(db, slot);
  if ((await overviewOf(db, slot)) !== undefined) {
    if (!exists)
      throw new OutboxError('OUTBOX_SLOT_MISSING', {
        detail: `the replication slot "${slot}" does not exist, but the ledger has a row for it`,
      });
    report(`Postgres: the slot "${slot}" and its ledger row exist`);
    return;
  }
  if (!exists) {
    if (failover) await checkFailover(db);
    const made = await createSlot(url, slot, { failover, db, onWait });
    await made.close();
    report(`Postgres: created the slot "${slot}"`);
  } else if (await adoptSlot(db, slot, isRestored))
    report(`Postgres: moved the slot "${slot}", which is older than the publication, to the end of WAL`);
  const earlier = await db.query('SELECT FROM outbox.event LIMIT 1');
  if (earlier.count > 0)
    report(
      'Postgres: outbox.event already holds events; those committed before the slot begins will not be delivered by the stream: `pg-outbox-clickhouse repair` sends them, once the streamer runs. If another slot or cluster has delivered them, follow docs/failover.md, "Another slot name, another cluster", first',
    );
  await createLedger(db, slot, (await checkPublication(db)).identity);
  report(`Postgres: created the ledger row of "${slot}"`);
}
