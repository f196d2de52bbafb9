import type pg from 'pg';
import { parseLsn, type Lsn } from '../../lsn.ts';
import { connectClient, endClient, postgresError } from './database.ts';

/** A slot that was just made, and the snapshot of exactly what it will not stream. */
export interface NewSlot {
  /** What commits at or behind it will be streamed. */
  readonly consistentLsn: Lsn;
  /** For SET TRANSACTION SNAPSHOT, until `close` is called. */
  readonly snapshot: string;
  readonly timeline: number;
  /** Ends the snapshot. */
  close(): Promise<void>;
}

/**
 * Makes the slot. Waits for transactions that are running. Throws OutboxErrors OUTBOX_PG_*.
 *
 * @param failover makes it one that standbys synchronise (Postgres 17)
 */
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
      close: async () => endClient(client),
    };
  } catch (error) {
    await endClient(client);
    throw postgresError(error);
  }
}
