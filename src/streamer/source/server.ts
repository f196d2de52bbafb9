import { OutboxError } from '../../errors.ts';
import { parseLsn, type Lsn } from '../../lsn.ts';
import type { Database } from './database.ts';
import { HARMLESS, serviceOf } from './service.ts';

/** Publications with column lists came with 15. */
const MIN_SERVER_VERSION = 150_000;
/** Slots that standbys synchronise came with 17. */
const MIN_FAILOVER_VERSION = 170_000;

interface ServerRow {
  wal_level: string;
  effective_wal_level: string | null;
  version: number;
  in_recovery: boolean;
}

/** Which server it is, and where it stands. */
export interface Server {
  readonly systemId: string;
  readonly timeline: number;
  /** What is flushed of its WAL. */
  readonly walEnd: Lsn;
}

/** To be asked of a primary: a standby has no WAL of its own. */
export async function serverOf(db: Database): Promise<Server> {
  // the name of a WAL file begins with the timeline, in hexadecimal
  const { rows } = await db.query<{ system_id: string; file: string; lsn: string }>(
    `SELECT system_identifier::text AS system_id, pg_walfile_name(pg_current_wal_lsn()) AS file,
            pg_current_wal_flush_lsn() AS lsn
       FROM pg_control_system()`,
  );
  const { system_id: systemId, file, lsn } = rows[0]!;
  return { systemId, timeline: Number.parseInt(file.slice(0, 8), 16), walEnd: parseLsn(lsn) };
}

/** Throws OUTBOX_PG_VERSION, OUTBOX_PG_STANDBY or OUTBOX_PG_WAL_LEVEL when the server cannot stream an outbox. */
export async function checkServer(db: Database): Promise<void> {
  const { rows } = await db.query<ServerRow>(
    `SELECT current_setting('wal_level') AS wal_level, current_setting('effective_wal_level', true) AS effective_wal_level,
            current_setting('server_version_num')::int AS version,
            pg_is_in_recovery() AS in_recovery`,
  );
  const server = rows[0]!;
  if (server.version < MIN_SERVER_VERSION)
    throw new OutboxError('OUTBOX_PG_VERSION', { detail: `the server is of version ${server.version}` });
  if (server.in_recovery) throw new OutboxError('OUTBOX_PG_STANDBY');
  if (!canDecode(server.wal_level, server.effective_wal_level ?? undefined))
    throw new OutboxError('OUTBOX_PG_WAL_LEVEL', { detail: `wal_level is "${server.wal_level}", not "logical"` });
}

/**
 * Since Postgres 19, which has `effective_wal_level`, wal_level is a floor: the first logical slot raises what is written from
 * "replica" to "logical".
 */
export function canDecode(walLevel: string, effective: string | undefined): boolean {
  return walLevel === 'logical' || (effective !== undefined && walLevel !== 'minimal');
}

/** Throws OUTBOX_PG_NOT_MIGRATED when there is no outbox, beside what `checkServer` throws. */
export async function checkMigrated(db: Database): Promise<void> {
  await checkServer(db);
  const { rows } = await db.query<{ migrated: boolean }>(
    `SELECT to_regclass('outbox.event') IS NOT NULL AND to_regclass('outbox.quarantine') IS NOT NULL AND to_regclass('outbox.erasure') IS NOT NULL
            AND EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass('outbox.stream') AND attname = 'begins_in') AS migrated`,
  );
  if (!rows[0]!.migrated) throw new OutboxError('OUTBOX_PG_NOT_MIGRATED');
}

/** Throws OUTBOX_PG_VERSION when the server knows no slots that standbys synchronise. */
export async function checkFailover(db: Database): Promise<void> {
  const { rows } = await db.query<{ version: number }>("SELECT current_setting('server_version_num')::int AS version");
  const { version } = rows[0]!;
  if (version < MIN_FAILOVER_VERSION)
    throw new OutboxError('OUTBOX_PG_VERSION', {
      detail: `OUTBOX_SLOT_FAILOVER=on needs Postgres 17, the server is of version ${version}`,
    });
}

/** What Postgres may forget in a crash although it was told to keep it, and which setting makes it so. */
export async function unsafeSettings(db: Database): Promise<string[]> {
  const { rows } = await db.query<{ name: string }>(
    "SELECT name FROM pg_settings WHERE name IN ('fsync', 'full_page_writes') AND setting = 'off' ORDER BY name",
  );
  if (rows.length === 0) return [];
  const service = await serviceOf(db);
  const harmless = (service && HARMLESS[service]) ?? [];
  return rows
    .filter(({ name }) => !harmless.includes(name))
    .map(({ name }) => `${name} is off: ALTER SYSTEM SET ${name} = on`);
}
