import { OutboxError } from '../../errors.ts';
import { parseLsn } from '../../lsn.ts';
import type { Lsn } from '../../lsn.ts';
import { sqlStateError } from '../postgres.ts';
import type { Database } from '../postgres.ts';
import { EVENT_COLUMNS } from './pgoutput.ts';

export const PUBLICATION = 'outbox';
/** Publications with column lists came with 15. */
const MIN_SERVER_VERSION = 150_000;

interface ServerRow {
  wal_level: string;
  version: number;
  migrated: boolean;
  in_recovery: boolean;
}

interface SlotRow {
  plugin: string | null;
  database: string | null;
  temporary: boolean;
  wal_status: string | null;
  reason: string | null;
  safe_wal_size: string | null;
  retained: string | null;
  unconfirmed: string | null;
  confirmed: string | null;
  synced: boolean | null;
  active_pid: number | null;
  here: string;
}

/** What Postgres says of a slot that can be streamed from. */
export interface Slot {
  /** What Postgres knows to be acknowledged. */
  readonly confirmedLsn: Lsn;
  /** Postgres itself has copied it from a former primary. */
  readonly isSynced: boolean;
  /** The walsender that holds it. */
  readonly activePid: number | undefined;
  /** `reserved`, `extended` or `unreserved`: the last loses the slot at the next checkpoint, unless it catches up. */
  readonly walStatus: string;
  /** Bytes of WAL that can still be written before the slot may be lost; undefined without max_slot_wal_keep_size. */
  readonly safeWalBytes: number | undefined;
  /** Bytes of WAL that it keeps. */
  readonly retainedBytes: number;
  /** Those of them that are not acknowledged. The others are kept for transactions that were open when WAL was last looked through. */
  readonly unconfirmedBytes: number;
}

interface PublicationRow {
  identity: string;
  pubinsert: boolean;
  pubviaroot: boolean;
  columns: string[] | null;
  rowfilter: string | null;
}

/**
 * Throws OUTBOX_PG_VERSION, OUTBOX_PG_STANDBY, OUTBOX_PG_WAL_LEVEL or OUTBOX_PG_NOT_MIGRATED when the server cannot stream an
 * outbox.
 */
export async function checkServer(db: Database): Promise<void> {
  const { rows } = await db.query<ServerRow>(
    `SELECT current_setting('wal_level') AS wal_level, current_setting('server_version_num')::int AS version,
            to_regclass('outbox.event') IS NOT NULL AND to_regclass('outbox.quarantine') IS NOT NULL AS migrated,
            pg_is_in_recovery() AS in_recovery`,
  );
  const server = rows[0]!;
  if (server.version < MIN_SERVER_VERSION)
    throw new OutboxError('OUTBOX_PG_VERSION', { detail: `the server is of version ${server.version}` });
  if (server.in_recovery) throw new OutboxError('OUTBOX_PG_STANDBY');
  if (server.wal_level !== 'logical')
    throw new OutboxError('OUTBOX_PG_WAL_LEVEL', { detail: `wal_level is "${server.wal_level}", not "logical"` });
  if (!server.migrated) throw new OutboxError('OUTBOX_PG_NOT_MIGRATED');
}

/** What Postgres may forget in a crash although it was told to keep it, and which setting makes it so. */
export async function unsafeSettings(db: Database): Promise<string[]> {
  const { rows } = await db.query<{ name: string }>(
    "SELECT name FROM pg_settings WHERE name IN ('fsync', 'full_page_writes') AND setting = 'off' ORDER BY name",
  );
  return rows.map(({ name }) => `${name} is off: ALTER SYSTEM SET ${name} = on`);
}

/**
 * Looks at the slot; undefined when it does not exist. Throws OUTBOX_SLOT_INVALID when it does, but can never be streamed from.
 * It is never made again here: what was committed since it was lost would be skipped in silence (invariant 8).
 */
export async function checkSlot(db: Database, slot: string): Promise<Slot | undefined> {
  const { rows } = await db.query<SlotRow>(
    // the columns of reason and synchronisation came with 17
    `SELECT plugin, database, temporary, wal_status, to_jsonb(s) ->> 'invalidation_reason' AS reason, safe_wal_size,
            pg_current_wal_lsn() - restart_lsn AS retained, pg_current_wal_lsn() - confirmed_flush_lsn AS unconfirmed,
            confirmed_flush_lsn AS confirmed, (to_jsonb(s) ->> 'synced')::bool AS synced, active_pid,
            current_database() AS here
       FROM pg_replication_slots s WHERE slot_name = $1`,
    [slot],
  );
  const [found] = rows;
  if (found === undefined) return undefined;
  const problem =
    found.plugin !== 'pgoutput'
      ? `its plugin is "${found.plugin}", not "pgoutput"`
      : found.database !== found.here
        ? `it belongs to the database "${found.database}"; slot names are unique in a cluster, set another OUTBOX_SLOT`
        : found.temporary
          ? 'it is temporary'
          : found.wal_status === 'lost'
            ? `it is invalidated (${found.reason ?? 'WAL that it needs is gone'})`
            : undefined;
  if (problem !== undefined)
    throw new OutboxError('OUTBOX_SLOT_INVALID', { detail: `the slot "${slot}" cannot be used: ${problem}` });
  return {
    confirmedLsn: found.confirmed === null ? 0 : parseLsn(found.confirmed),
    isSynced: found.synced === true,
    activePid: found.active_pid ?? undefined,
    walStatus: found.wal_status ?? 'reserved',
    safeWalBytes: found.safe_wal_size === null ? undefined : Number(found.safe_wal_size),
    retainedBytes: Number(found.retained ?? 0),
    unconfirmedBytes: Number(found.unconfirmed ?? 0),
  };
}

/** The error of a slot that is not there. */
export function slotMissing(slot: string): OutboxError {
  return new OutboxError('OUTBOX_SLOT_MISSING', { detail: `the replication slot "${slot}" does not exist` });
}

/** What one look at the publication showed. */
export interface PublicationCheck {
  /** Changes whenever the publication is altered, or dropped and made again. */
  readonly identity: string;
  /** WAL up to here was written before the look: what it holds was published as seen. */
  readonly flushedLsn: Lsn;
}

/**
 * Makes sure that inserts of outbox.event are published, whole. Since Postgres 18 a missing publication is only a warning
 * to who streams from it, and events pass by unseen, so it is looked at again and again, and nothing beyond the last good
 * look is acknowledged (invariant 8). Throws OUTBOX_PUBLICATION_MISSING.
 */
export async function checkPublication(db: Database): Promise<PublicationCheck> {
  // a statement of its own: within one, the position might be read after the snapshot that sees the publication
  const wal = await db.query<{ lsn: string }>('SELECT pg_current_wal_flush_lsn() AS lsn');
  const { rows } = await db.query<PublicationRow>(
    `SELECT concat_ws('/', p.oid || '.' || p.xmin, r.oid || '.' || r.xmin) AS identity,
            p.pubinsert, p.pubviaroot, t.attnames::text[] AS columns, t.rowfilter
       FROM pg_publication p
       LEFT JOIN pg_publication_tables t ON t.pubname = p.pubname AND t.schemaname = 'outbox' AND t.tablename = 'event'
       LEFT JOIN pg_publication_rel r ON r.prpubid = p.oid AND r.prrelid = to_regclass('outbox.event')
      WHERE p.pubname = $1`,
    [PUBLICATION],
  );
  const [found] = rows;
  const problems: string[] = [];
  if (found === undefined) problems.push(`the publication "${PUBLICATION}" does not exist`);
  else {
    if (!found.pubinsert) problems.push('it does not publish INSERT');
    if (!found.pubviaroot) problems.push('publish_via_partition_root is off');
    if (found.rowfilter !== null) problems.push('it has a row filter');
    const { columns } = found;
    if (columns === null) problems.push('outbox.event is not in it');
    else
      for (const { name } of EVENT_COLUMNS)
        if (!columns.includes(name)) problems.push(`the column ${name} is not in it`);
  }
  if (problems.length > 0)
    throw new OutboxError('OUTBOX_PUBLICATION_MISSING', {
      detail: 'the publication does not carry the events',
      problems,
    });
  return { identity: found!.identity, flushedLsn: parseLsn(wal.rows[0]!.lsn) };
}

/** What an error of the walsender means, at START_REPLICATION or later. */
export function streamRefused(sqlState: string, text: string): OutboxError {
  const detail = { detail: `Postgres answered ${sqlState}: ${text}`, sqlState };
  if (sqlState === '42704')
    return new OutboxError(text.includes('publication') ? 'OUTBOX_PUBLICATION_MISSING' : 'OUTBOX_SLOT_MISSING', detail);
  if (sqlState === '55000') return new OutboxError('OUTBOX_SLOT_INVALID', detail);
  return sqlStateError(sqlState, text);
}
