import { setTimeout as sleep } from 'node:timers/promises';
import { OutboxError } from '../../errors.ts';
import type { ClickHouse } from './client.ts';
import { literal } from './literal.ts';
import type { Quorum } from './settings.ts';

interface ReplicaRow {
  readonly replica: string;
  readonly hasAll: 0 | 1;
  readonly isUnwritten: 0 | 1;
  readonly total: number;
}

/** Of so many replicas. */
export function wantedOf(size: Quorum['size'], total: number): number {
  return size === 'auto' ? Math.floor(total / 2) + 1 : Number(size);
}

const PATIENCE_MS = 10_000;
const POLL_MS = 50;

/**
 * Waits until so many replicas as the quorum wants have all that any of them took before now. What fewer have may be removed: where
 * the replica that has it is away for a moment, another one gives the part up, and its token is forgotten.
 *
 * Throws OUTBOX_CH_QUORUM, or what the questions run into.
 */
export async function untilHeld(
  clickhouse: ClickHouse,
  { size, cluster }: Quorum,
  table: string,
  signal?: AbortSignal,
): Promise<void> {
  const held = new Set<string>();
  const until = performance.now() + PATIENCE_MS;
  for (;;) {
    const rows = await clickhouse.select<ReplicaRow>(
      `SELECT replica_name AS replica, toUInt8(log_pointer > log_max_index AND inserts_in_queue = 0) AS hasAll,
              toUInt8(log_pointer = 0 AND log_max_index = 0) AS isUnwritten, toUInt32(total_replicas) AS total
         FROM clusterAllReplicas(${literal(cluster)}, system.replicas)
        WHERE NOT is_session_expired AND zookeeper_exception = '' AND zookeeper_path =
              (SELECT zookeeper_path FROM system.replicas WHERE database = currentDatabase() AND table = {table:String})
     SETTINGS skip_unavailable_shards = 1, connect_timeout_with_failover_ms = 1000`,
      { table },
      signal,
    );
    if (rows.length > 0 && rows.every(({ isUnwritten }) => isUnwritten === 1)) return;
    for (const { replica, hasAll } of rows) if (hasAll === 1) held.add(replica);
    const total = Math.max(0, ...rows.map((row) => row.total));
    const wanted = wantedOf(size, total);
    if (held.size >= wanted) return;
    if (performance.now() > until)
      throw new OutboxError('OUTBOX_CH_QUORUM', {
        detail: `${held.size} of ${total} replicas have all that was inserted, and ${wanted} are to`,
      });
    await sleep(POLL_MS, undefined, { signal });
  }
}
