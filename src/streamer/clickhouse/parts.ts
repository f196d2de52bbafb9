import type { ClickHouse } from './client.ts';

/** Active parts in the partition of the table that has most: beyond a number of them ClickHouse slows inserts down, then refuses them. */
export async function mostParts(clickhouse: ClickHouse, table: string, signal: AbortSignal): Promise<number> {
  const [found] = await clickhouse.select<{ parts: string }>(
    `SELECT toString(max(n)) AS parts FROM
       (SELECT count() AS n FROM system.parts
         WHERE active AND database = currentDatabase() AND table = {table:String} GROUP BY partition_id)`,
    { table },
    signal,
  );
  return Number(found?.parts ?? 0);
}
