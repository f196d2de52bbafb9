import { setTimeout as sleep } from 'node:timers/promises';
import { OutboxError } from '../../errors.ts';
import { parseLsn, type Lsn } from '../../lsn.ts';
import type { SlotWal } from '../observe/measures.ts';
import type { Database } from './database.ts';
import { sqlStateError } from './postgres-error.ts';
import { isStreamerConnection } from './streamer-connection.ts';

interface SlotRow {
  plugin: string | null;
  database: string | null;
  temporary: boolean;
  two_phase: boolean;
  wal_status: string | null;
  reason: string | null;
  safe_wal_size: string | null;
  retained: string | null;
  unconfirmed: string | null;
  confirmed: string | null;
  synced: boolean | null;
  active_pid: number | null;
  foreign_holder: string | null;
  here: string;
  wal_rate: number | null;
}

/** A program that is none of our streamers, and reads the slot. */
export interface ForeignHolder {
  readonly pid: number;
  readonly what: string;
}

/** What Postgres says of a slot that can be streamed from. */
export interface Slot extends SlotWal {
  /** What Postgres knows to be acknowledged. */
  readonly confirmedLsn: Lsn;
  /** Postgres itself has copied it from a former primary. */
  readonly isSynced: boolean;
  /** The walsender that holds it. */
  readonly activePid: number | undefined;
  /** Who holds it, where that is none of our streamers. */
  readonly foreignHolder: ForeignHolder | undefined;
  /** WAL of the whole server, on the average since its statistics were reset. */
  readonly walBytesPerSecond: number;
}

/** SQL that names the program which holds the slot `s`, where it is none of our streamers; otherwise NULL. */
export const FOREIGN_HOLDER = `(SELECT format('process %s (role "%s", application "%s")', a.pid, a.usename, a.application_name) FROM pg_stat_activity a
              WHERE a.pid = s.active_pid AND NOT ${isStreamerConnection('a')})`;

/**
 * Reads the state of the slot; undefined when it does not exist. Throws OUTBOX_SLOT_INVALID when it does, but can never be streamed
 * from. The slot is never made again here: what was committed since it was lost would be skipped in silence (invariant 8).
 */
export async function checkSlot(db: Database, slot: string): Promise<Slot | undefined> {
  const { rows } = await db.query<SlotRow>(
    // the columns of reason and synchronisation came with 17
    `SELECT plugin, database, temporary, two_phase, wal_status, to_jsonb(s) ->> 'invalidation_reason' AS reason, safe_wal_size,
            pg_current_wal_lsn() - restart_lsn AS retained, pg_current_wal_lsn() - confirmed_flush_lsn AS unconfirmed,
            confirmed_flush_lsn AS confirmed, (to_jsonb(s) ->> 'synced')::bool AS synced, active_pid,
            ${FOREIGN_HOLDER} AS foreign_holder,
            current_database() AS here,
            (SELECT wal_bytes / nullif(extract(epoch FROM clock_timestamp() - coalesce(stats_reset, pg_postmaster_start_time())), 0)
               FROM pg_stat_wal)::float8 AS wal_rate
       FROM pg_replication_slots s WHERE slot_name = $1`,
    [slot],
  );
  const [found] = rows;
  if (found === undefined) return undefined;
  const problem =
    found.plugin !== 'pgoutput'
      ? `its plugin is "${found.plugin}", not "pgoutput"`
      : found.database !== found.here
        ? `it belongs to the database "${found.database}"; slot names are unique in a cluster. Set another OUTBOX_SLOT, or where this database has taken the place of that one, drop the slot there by pg_drop_replication_slot and run \`repair\` here`
        : found.temporary
          ? 'it is temporary'
          : found.wal_status === 'lost'
            ? `it is invalidated (${found.reason ?? 'WAL that it needs is gone'})`
            : found.two_phase
              ? 'it decodes prepared transactions (two_phase), which the streamer does not'
              : undefined;
  if (problem !== undefined)
    throw new OutboxError('OUTBOX_SLOT_INVALID', { detail: `the slot "${slot}" cannot be used: ${problem}` });
  return {
    confirmedLsn: found.confirmed === null ? 0 : parseLsn(found.confirmed),
    isSynced: found.synced === true,
    activePid: found.active_pid ?? undefined,
    foreignHolder:
      found.active_pid === null || found.foreign_holder === null
        ? undefined
        : { pid: found.active_pid, what: found.foreign_holder },
    walStatus: found.wal_status ?? 'reserved',
    safeWalBytes: found.safe_wal_size === null ? undefined : Number(found.safe_wal_size),
    retainedBytes: Number(found.retained ?? 0),
    unconfirmedBytes: Number(found.unconfirmed ?? 0),
    walBytesPerSecond: found.wal_rate ?? 0,
  };
}

/** The error of a slot that another program reads. */
export function slotForeign(slot: string, { what }: ForeignHolder): OutboxError {
  return new OutboxError('OUTBOX_SLOT_FOREIGN', {
    detail: `the slot "${slot}" is held by ${what}, which is no streamer`,
  });
}

const WORK_LOOKS = 5;
const WORK_LOOK_MS = 60;

/**
 * Whether the walsender that holds the slot computes or reads, and neither waits for WAL nor for its client. It is looked at several
 * times: one that waits wakes for a moment whenever a status comes.
 */
export async function isWalsenderWorking(db: Database, slot: string): Promise<boolean> {
  for (let looks = 0; looks < WORK_LOOKS; looks++) {
    await sleep(WORK_LOOK_MS);
    const { count } = await db.query(
      `SELECT FROM pg_replication_slots s JOIN pg_stat_activity a ON a.pid = s.active_pid
        WHERE s.slot_name = $1 AND a.state = 'active' AND coalesce(a.wait_event_type, '') NOT IN ('Activity', 'Client')`,
      [slot],
    );
    if (count === 0) return false;
  }
  return true;
}

/** The error of a slot that is not there. */
export function slotMissing(slot: string): OutboxError {
  return new OutboxError('OUTBOX_SLOT_MISSING', { detail: `the replication slot "${slot}" does not exist` });
}

/** What an error of the walsender means, at START_REPLICATION or later: pgoutput looks for the publication when a change comes. */
export function streamRefused(sqlState: string, text: string, isStreaming: boolean): OutboxError {
  const detail = { detail: `Postgres answered ${sqlState}: ${text}`, sqlState };
  if (sqlState === '42704')
    return new OutboxError(isStreaming ? 'OUTBOX_PUBLICATION_MISSING' : 'OUTBOX_SLOT_MISSING', detail);
  if (sqlState === '55000') return new OutboxError('OUTBOX_SLOT_INVALID', detail);
  return sqlStateError(sqlState, text);
}

const DROP_POLL_MS = 200;
const DROP_TIMEOUT_MS = 60_000;

/** Drops a slot that cannot be trusted, once nobody holds it. Throws OUTBOX_SLOT_BUSY. */
export async function dropSlot(db: Database, slot: string): Promise<void> {
  const end = performance.now() + DROP_TIMEOUT_MS;
  for (;;) {
    try {
      await db.query('SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1', [
        slot,
      ]);
      return;
    } catch (error) {
      if (!(error instanceof OutboxError) || error.code !== 'OUTBOX_SLOT_BUSY' || performance.now() > end) throw error;
      await sleep(DROP_POLL_MS);
    }
  }
}
