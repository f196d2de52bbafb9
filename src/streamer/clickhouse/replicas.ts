import type { ReplicaSeen } from '../observe/measures.ts';
import type { ClickHouse } from './client.ts';
import { isReplicated } from './identity.ts';

/** What the replica that answers says, with its name. */
export interface ReplicaState extends ReplicaSeen {
  readonly replica: string;
}

/**
 * Undefined where the table is not replicated, or is a SharedMergeTree, of which ClickHouse tells nothing; and where this account may
 * not see it, `unseen`. Throws OUTBOX_CH_*.
 *
 * https://clickhouse.com/docs/operations/system-tables/replicas
 */
export async function replicaState(
  clickhouse: ClickHouse,
  table: string,
  signal?: AbortSignal,
): Promise<ReplicaState | 'unseen' | undefined> {
  const [target] = await clickhouse.select<{ engine: string }>(
    'SELECT engine FROM system.tables WHERE database = currentDatabase() AND name = {table:String}',
    { table },
    signal,
  );
  if (!isReplicated(target?.engine ?? '') || target!.engine.startsWith('Shared')) return undefined;
  const [found] = await clickhouse.select<ReplicaState>(
    `SELECT replica_name AS replica,
            multiIf(is_session_expired OR zookeeper_exception != '', 'no Keeper', is_readonly, 'read only', 'writable') AS state,
            toUInt32(total_replicas) AS total, toUInt32(active_replicas) AS active, toUInt32(absolute_delay) AS delaySeconds,
            toUInt32(queue_size) AS queue, toUInt32(lost_part_count) AS lostParts
       FROM system.replicas WHERE database = currentDatabase() AND table = {table:String}`,
    { table },
    signal,
  );
  return found ?? 'unseen';
}
