import type pg from 'pg';
import { pooled, postgresError } from './postgres-error.ts';

/** Which server a replication connection has reached. */
export interface ServerIdentity {
  readonly systemId: string;
  readonly timeline: number;
}

/** Asks a replication connection. Throws OUTBOX_PG_POOLER where something takes the question for SQL, and OutboxErrors OUTBOX_PG_*. */
export async function identify(client: pg.Client): Promise<ServerIdentity> {
  try {
    const { rows } = await client.query<{ systemid: string; timeline: string }>('IDENTIFY_SYSTEM');
    const { systemid, timeline } = rows[0]!;
    return { systemId: systemid, timeline: Number(timeline) };
  } catch (error) {
    throw pooled(postgresError(error), '42601');
  }
}
