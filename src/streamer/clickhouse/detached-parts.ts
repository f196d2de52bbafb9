import type { ClickHouse } from './client.ts';
import { isReplicated } from './identity.ts';

/** Parts of a partition that ClickHouse does not read, and that may be attached again. */
export interface DetachedParts {
  readonly partition: string;
  /** Why ClickHouse has detached them, such as `broken-on-start`; empty where somebody else has. */
  readonly reason: string;
  readonly parts: number;
}

/**
 * Detached parts of a table of the current database that may hold rows which it lacks, of those that were detached since a time (ms
 * since 1970). What a replica itself detaches, others have. Throws OUTBOX_CH_*.
 */
export async function detachedParts(
  clickhouse: ClickHouse,
  table: string,
  sinceMs: number,
  signal?: AbortSignal,
): Promise<DetachedParts[]> {
  const found = await clickhouse.select<DetachedParts & { readonly engine: string }>(
    `SELECT ifNull(partition_id, '') AS partition, ifNull(reason, '') AS reason, toUInt32(count()) AS parts,
            (SELECT engine FROM system.tables WHERE database = currentDatabase() AND name = {table:String}) AS engine
       FROM system.detached_parts
      WHERE database = currentDatabase() AND table = {table:String} AND reason NOT IN ('ignored', 'deleting')
        AND toUnixTimestamp(modification_time) >= {since:Int64}
      GROUP BY partition, reason ORDER BY partition, reason`,
    { table, since: Math.floor(sinceMs / 1000) },
    signal,
  );
  return found.filter(({ engine, reason }) => reason === '' || !isReplicated(engine));
}

export function describeDetached({ partition, reason, parts }: DetachedParts): string {
  return `${parts} parts of the partition ${partition} are detached${reason === '' ? '' : ` (${reason})`}`;
}
