import { setTimeout as sleep } from 'node:timers/promises';
import type pg from 'pg';
import { OutboxError } from '../../errors.ts';
import { formatLsn, parseLsn } from '../../lsn.ts';
import type { Lsn } from '../../lsn.ts';
import { connectClient, endClient, postgresError } from '../postgres.ts';
import type { Database } from '../postgres.ts';

const DROP_POLL_MS = 200;
const DROP_TIMEOUT_MS = 60_000;

/** A slot that was just made, and the snapshot of exactly what it will not stream. */
export interface NewSlot {
  /** What commits at or behind it will be streamed. */
  readonly consistentLsn: Lsn;
  /** For SET TRANSACTION SNAPSHOT, as long as `release` was not called. */
  readonly snapshot: string;
  readonly timeline: number;
  release(): Promise<void>;
}

/**
 * Takes the ledger away from any streamer, for as long as the repair lasts, and returns the new epoch. What was pending is
 * forgotten: who repairs compares with ClickHouse.
 */
export async function beginRepair(db: Database, slot: string): Promise<string> {
  const { rows } = await db.query<{ epoch: string }>(
    `UPDATE outbox.stream
        SET epoch = epoch + 1, holder_pid = NULL, repair_began_at = coalesce(repair_began_at, now()),
            pending_lsn = NULL, pending_seq = NULL, pending_rows = NULL, pending_token = NULL, pending_at = NULL
      WHERE slot_name = $1 RETURNING epoch`,
    [slot],
  );
  return rows[0]!.epoch;
}

/** Hands the ledger back: everything before the new slot's begin is delivered. Throws OUTBOX_EPOCH_LOST. */
export async function endRepair(
  db: Database,
  slot: string,
  repaired: { epoch: string; publication: string; timeline: number; consistentLsn: Lsn },
): Promise<void> {
  const { count } = await db.query(
    `UPDATE outbox.stream
        SET epoch = epoch + 1, repair_began_at = NULL, read_back_below = NULL, timeline = $3, publication = $4,
            delivered_lsn = $5, delivered_seq = 0, acked_lsn = $6
      WHERE slot_name = $1 AND epoch = $2`,
    [
      slot,
      repaired.epoch,
      repaired.timeline,
      repaired.publication,
      // records begin at multiples of eight: no commit stands there
      formatLsn(repaired.consistentLsn - 1),
      formatLsn(repaired.consistentLsn),
    ],
  );
  if (count !== 1) throw new OutboxError('OUTBOX_EPOCH_LOST');
}

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

/** Makes the slot. Waits for transactions that are running. Throws OutboxErrors OUTBOX_PG_*. */
export async function createSlot(url: string, slot: string, failover: boolean): Promise<NewSlot> {
  const client = await connectClient(url, { replication: true, queryTimeoutMs: 0 }, () => undefined);
  try {
    const { rows: system } = await client.query<{ timeline: string }>('IDENTIFY_SYSTEM');
    const { rows } = await client.query<{ consistent_point: string; snapshot_name: string } & pg.QueryResultRow>(
      `CREATE_REPLICATION_SLOT "${slot}" LOGICAL pgoutput (SNAPSHOT 'export'${failover ? ', FAILOVER' : ''})`,
    );
    const { consistent_point: lsn, snapshot_name: snapshot } = rows[0]!;
    return {
      consistentLsn: parseLsn(lsn),
      snapshot,
      timeline: Number(system[0]!.timeline),
      release: async () => endClient(client),
    };
  } catch (error) {
    await endClient(client);
    throw postgresError(error);
  }
}
