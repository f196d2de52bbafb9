import type { TableName } from './absence.ts';
import type { ClickHouse } from './client.ts';

export interface Identified extends TableName {
  /** Zeros in databases whose engine is not Atomic. */
  readonly uuid: string;
  /** The server's own UUID: a copy of its disk has the tables' UUIDs. Zeros where it has none. */
  readonly server: string;
  /** The engine with its clauses and settings, without what columns and comments say. Empty when it may not be seen. */
  readonly engine_full: string;
}

/** Whether the replicas of a table share what they take, and each may lag behind. */
export function isReplicated(engine: string): boolean {
  return /^(Replicated|Shared)/.test(engine);
}

/** The same for all replicas of a table, and another after another table has taken its name, or on another server. Throws OUTBOX_CH_*. */
export async function identityOf(
  clickhouse: ClickHouse,
  { database, name, uuid, server, engine_full: engine }: Identified,
  signal?: AbortSignal,
): Promise<string> {
  if (!isReplicated(engine)) return `${uuid}@${server}`;
  // replicas that were made one by one share their path in Keeper, and not the UUID
  const [replica] = await clickhouse.select<{ path: string }>(
    'SELECT zookeeper_path AS path FROM system.replicas WHERE database = {database:String} AND table = {name:String}',
    { database, name },
    signal,
  );
  return replica?.path ?? uuid;
}
