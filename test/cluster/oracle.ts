import type { ClickHouseClient } from '@clickhouse/client';
import { expect } from 'vitest';
import { heldBy } from '../support/cluster.ts';
import type { Outbox } from '../support/outbox.ts';

const WRITTEN = `SELECT count(*)::int AS rows, count(*)::int AS events,
                        md5(string_agg(event_id::text, ',' ORDER BY event_id::text COLLATE "C")) AS digest FROM outbox.event`;
/** Of all shards. */
const WHOLE = `SELECT count() AS rows, uniqExact(event_id) AS events,
                      lower(hex(MD5(arrayStringConcat(arraySort(groupArray(toString(event_id))), ',')))) AS digest FROM events_all`;

/**
 * Each event of the outbox is in one shard, once, in the table and in the view, and each replica of that shard has it. Returns how many
 * there are in each shard.
 *
 * @param shards clients of the replicas of each
 */
export async function expectOnce(outbox: Outbox, shards: readonly (readonly ClickHouseClient[])[]): Promise<number[]> {
  const counts: number[] = [];
  for (const clients of shards) {
    const [first, ...others] = await Promise.all(clients.map((client) => heldBy(client, true)));
    const { rows } = first!;
    expect(first).toMatchObject({ events: rows, viewed: rows });
    for (const other of others) expect(other).toEqual(first);
    counts.push(Number(rows));
  }
  const { rows: written } = await outbox.postgres.query<{ rows: number }>(WRITTEN);
  // no id is twice in it, so none is in two shards
  expect(await outbox.select(WHOLE)).toEqual(written);
  expect(counts.reduce((sum, one) => sum + one, 0)).toBe(written[0]!.rows);
  return counts;
}
