import { setTimeout as sleep } from 'node:timers/promises';
import { OutboxError } from '../../errors.ts';
import { parseLsn, type Lsn } from '../../lsn.ts';
import { publicationOf } from '../share.ts';
import type { DatabaseAccess } from './access.ts';
import { connectClient, Database, endClient } from './database.ts';
import { postgresError } from './postgres-error.ts';
import { identify } from './identify.ts';

/** A slot that was just made, and the snapshot of exactly what it will not stream. */
export interface NewSlot {
  /** What commits at or behind it will be streamed. */
  readonly consistentLsn: Lsn;
  /** For SET TRANSACTION SNAPSHOT, until `close` is called. */
  readonly snapshot: string;
  readonly systemId: string;
  readonly timeline: number;
  /** Ends the snapshot. */
  close(): Promise<void>;
}

export interface NewSlotOptions {
  /** Makes it one that standbys synchronise (Postgres 17). */
  readonly failover: boolean;
  /** Another connection, to see what is waited for. */
  readonly db: Database;
  /** Is told for whom the slot waits: a transaction that began before, with its process. */
  readonly onWait: (line: string) => void;
  /** How long; ten minutes where nothing is said. */
  readonly waitMs?: number;
}

const POLL_MS = 500;
/** A slot begins only when all transactions that are open have ended; longer than this nobody should be left to wait. */
const WAIT_MS = 10 * 60_000;
const SNAPSHOT_TOO_LARGE = '40001';

/**
 * Makes the slot. Waits for transactions that are running, ten minutes at most. Throws OUTBOX_SLOT_WAITS and OutboxErrors
 * OUTBOX_PG_*.
 */
export async function createSlot(
  access: string | DatabaseAccess,
  slot: string,
  options: NewSlotOptions,
): Promise<void> {
  // an exported snapshot may be refused, and nobody would read it
  const made = await beginSlot(access, slot, 'nothing', options);
  await made.close();
}

/** Like `createSlot`, and keeps the snapshot until `close`. */
export async function createSlotAndSnapshot(
  access: string | DatabaseAccess,
  slot: string,
  options: NewSlotOptions,
): Promise<NewSlot> {
  const until = performance.now() + (options.waitMs ?? WAIT_MS);
  for (;;) {
    try {
      return await beginSlot(access, slot, 'export', options);
    } catch (error) {
      // Postgres makes no such snapshot where more transactions began meanwhile than it has places for
      // https://github.com/postgres/postgres/blob/REL_18_STABLE/src/backend/replication/logical/snapbuild.c
      const isTooLarge = error instanceof OutboxError && error.sqlState === SNAPSHOT_TOO_LARGE;
      if (!isTooLarge || performance.now() > until) throw error;
      options.onWait('a moment when fewer transactions begin: its snapshot would be too large');
      await sleep(POLL_MS);
    }
  }
}

async function beginSlot(
  access: string | DatabaseAccess,
  slot: string,
  snapshot: 'export' | 'nothing',
  options: NewSlotOptions,
): Promise<NewSlot> {
  const client = await connectClient(access, { replication: true, queryTimeoutMs: 0 }, () => undefined);
  const { processID: pid } = client as unknown as { processID: number };
  const over = new AbortController();
  try {
    const server = await identify(client);
    const making = client.query<{ consistent_point: string; snapshot_name: string | null }>(
      `CREATE_REPLICATION_SLOT "${slot}" LOGICAL pgoutput (SNAPSHOT '${snapshot}'${options.failover ? ', FAILOVER' : ''})`,
    );
    const { rows } = await Promise.race([making, tellUntil(pid, slot, options, over.signal)]);
    const { consistent_point: lsn, snapshot_name: name } = rows[0]!;
    return {
      consistentLsn: parseLsn(lsn),
      snapshot: name ?? '',
      ...server,
      close: async () => endClient(client),
    };
  } catch (error) {
    await endClient(client);
    throw postgresError(error);
  } finally {
    over.abort();
  }
}

/** A snapshot that another session exports, as pg_current_snapshot() gives it. */
export async function snapshotText(access: string | DatabaseAccess, snapshot: string): Promise<string> {
  const db = await Database.connect(access, {}, () => undefined);
  try {
    await db.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
    await db.query(`SET TRANSACTION SNAPSHOT '${snapshot}'`);
    const { rows } = await db.query<{ text: string }>('SELECT pg_current_snapshot()::text AS text');
    return rows[0]!.text;
  } finally {
    await db.close();
  }
}

/** Waits for a slot that somebody is making: a `migrate` that was killed leaves the server at it. Throws OUTBOX_SLOT_WAITS. */
export async function untilMade(db: Database, slot: string, onWait: (line: string) => void): Promise<void> {
  const isMade = async (): Promise<number | undefined> => {
    const { rows } = await db.query<{ pid: number | null }>(
      `SELECT active_pid AS pid FROM pg_replication_slots
        WHERE slot_name = $1 AND slot_type = 'logical' AND database = current_database() AND plugin = 'pgoutput'
          AND confirmed_flush_lsn IS NULL`,
      [slot],
    );
    return rows[0]?.pid ?? undefined;
  };
  const over = new AbortController();
  const pid = await isMade();
  if (pid === undefined) return;
  const telling = tellUntil(pid, slot, { db, onWait }, over.signal);
  try {
    for (;;) {
      await Promise.race([sleep(POLL_MS), telling]);
      if ((await isMade()) === undefined) return;
    }
  } finally {
    over.abort();
  }
}

/**
 * Prepares a slot that was there before its ledger, and that may be older than the publication: what WAL holds of before can never be
 * decoded, so the slot is moved behind it; so it is where the publication was just restored, because what was committed before is not
 * in it. Returns whether it was. Throws OUTBOX_SLOT_BUSY, OUTBOX_PG_PRIVILEGE and other
 * OutboxErrors OUTBOX_PG_*.
 */
export async function adoptSlot(db: Database, slot: string, isRestored: boolean): Promise<boolean> {
  let isOlder = isRestored;
  // since 18 it is only warned of
  const onNotice = ({ file }: { file?: string | undefined }): void => {
    isOlder ||= file === 'pgoutput.c';
  };
  db.client.on('notice', onNotice);
  try {
    await db.query(
      "SELECT FROM pg_logical_slot_peek_binary_changes($1, NULL, 1, 'proto_version', '1', 'publication_names', $2)",
      [slot, publicationOf(slot, db.schema)],
    );
  } catch (error) {
    if (!(error instanceof OutboxError) || error.sqlState !== '42704') throw error;
    isOlder = true;
  } finally {
    db.client.off('notice', onNotice);
  }
  if (isOlder) await db.query('SELECT pg_replication_slot_advance($1, pg_current_wal_flush_lsn())', [slot]);
  return isOlder;
}

/** Tells whom a process waits for, each once. Ends it and throws OUTBOX_SLOT_WAITS when that lasts too long. */
async function tellUntil(
  pid: number,
  slot: string,
  { db, onWait, waitMs = WAIT_MS }: Pick<NewSlotOptions, 'db' | 'onWait' | 'waitMs'>,
  signal: AbortSignal,
): Promise<never> {
  const end = performance.now() + waitMs;
  const told = new Set<string>();
  for (;;) {
    await sleep(POLL_MS, undefined, { signal });
    const lines = await holdersBefore(db, pid);
    for (const line of lines.filter((one) => !told.has(one))) {
      told.add(line);
      onWait(line);
    }
    if (performance.now() < end || lines.length === 0) continue;
    // only while it still makes this slot
    await db.query(
      `SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots
        WHERE slot_name = $1 AND active_pid = $2 AND confirmed_flush_lsn IS NULL`,
      [slot, pid],
    );
    throw new OutboxError('OUTBOX_SLOT_WAITS', { detail: 'the slot could not be made', problems: lines });
  }
}

/** The transactions that a process waits for, without what they do: statements may hold values. */
async function holdersBefore(db: Database, pid: number): Promise<string[]> {
  const { rows } = await db.query<{ line: string }>(
    `SELECT format('process %s (role "%s", application "%s"), whose transaction began at %s', a.pid, a.usename, a.application_name,
                   to_char(a.xact_start AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')) AS line
       FROM unnest(pg_blocking_pids($1)) AS blocking JOIN pg_stat_activity a ON a.pid = blocking
      UNION
     SELECT format('the prepared transaction "%s" of role "%s", prepared at %s', p.gid, p.owner,
                   to_char(p.prepared AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'))
       FROM pg_locks l JOIN pg_prepared_xacts p ON p.transaction = l.transactionid WHERE l.pid = $1 AND NOT l.granted
      ORDER BY line`,
    [pid],
  );
  return rows.map(({ line }) => line);
}
