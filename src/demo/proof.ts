import { createClient } from '@clickhouse/client';
import type { Record } from './shop.ts';

export interface Proof {
  readonly rows: number;
  readonly inserts: number;
  readonly missing: number;
  readonly doubled: number;
  /** Events of rolled-back transactions that are in ClickHouse all the same. */
  readonly ghosts: number;
}

/** Compares what the shop knows with what is in the table, id by id. */
export async function prove(clickhouseUrl: string, record: Record): Promise<Proof> {
  const clickhouse = createClient({ url: clickhouseUrl });
  try {
    const ids = await rows<{ id: string; copies: string }>(
      'SELECT event_id AS id, count() AS copies FROM events GROUP BY event_id',
    );
    const [totals] = await rows<{ rows: string; inserts: string }>(
      'SELECT count() AS rows, uniqExact(source, delivered_at) AS inserts FROM events',
    );
    const copies = new Map(ids.map(({ id, copies: n }) => [id, Number(n)]));
    return {
      rows: Number(totals!.rows),
      inserts: Number(totals!.inserts),
      missing: record.committed.filter((id) => !copies.has(id)).length,
      doubled: ids.filter(({ copies: n }) => Number(n) > 1).length,
      ghosts: record.rolledBack.filter((id) => copies.has(id)).length,
    };
  } finally {
    await clickhouse.close();
  }

  async function rows<Row>(query: string): Promise<Row[]> {
    const result = await clickhouse.query({ query, format: 'JSONEachRow' });
    return result.json<Row>();
  }
}
