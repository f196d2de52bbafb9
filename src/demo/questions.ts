import { createClient, type ClickHouseClient } from '@clickhouse/client';
import type { Totals } from './load.ts';

/** What was committed, compared with what is in the table, id by id. */
export interface Proof {
  readonly rows: number;
  readonly inserts: number;
  readonly missing: number;
  readonly doubled: number;
  /** Events of rolled-back transactions that are in ClickHouse all the same. */
  readonly ghosts: number;
  readonly isExact: boolean;
}

/** Asks ClickHouse what analysts and investigators ask. */
export class Questions {
  readonly #clickhouse: ClickHouseClient;

  constructor(url: string) {
    this.#clickhouse = createClient({ url });
  }

  async proof(totals: Totals): Promise<Proof> {
    const ids = await this.#rows<{ id: string; copies: number }>(
      'SELECT event_id AS id, count() AS copies FROM events GROUP BY event_id',
    );
    const [table] = await this.#rows<{ rows: number; inserts: number }>(
      'SELECT count() AS rows, uniqExact(source, delivered_at) AS inserts FROM events',
    );
    const there = new Set(ids.map(({ id }) => id));
    const missing = totals.committed.filter((id) => !there.has(id)).length;
    const doubled = ids.filter(({ copies }) => copies > 1).length;
    const ghosts = totals.rolledBack.filter((id) => there.has(id)).length;
    const isExact = missing + doubled + ghosts === 0 && table!.rows === totals.committed.length;
    return { ...table!, missing, doubled, ghosts, isExact };
  }

  async isThere(eventId: string): Promise<boolean> {
    return (await this.#rows('SELECT 1 FROM events WHERE event_id = {id:UUID} LIMIT 1', { id: eventId })).length > 0;
  }

  async countsByType(): Promise<string[]> {
    const rows = await this.#rows<{ type: string; n: number; amount: number }>(
      `SELECT event_type AS type, count() AS n, round(sum(event_context.amount::Nullable(Float64)), 2) AS amount
         FROM events GROUP BY type ORDER BY n DESC`,
    );
    return rows.map(
      ({ type, n, amount }) => `${type.padEnd(20)}${count(n).padStart(8)}${amount ? `   ${count(amount)} EUR` : ''}`,
    );
  }

  async ofTrace(traceId: string): Promise<string[]> {
    const rows = await this.#rows<{ at: string; type: string; lsn: number; seq: number }>(
      `SELECT toString(event_date_time) AS at, event_type AS type, lsn, seq FROM events WHERE trace_id = {traceId:String} ORDER BY lsn, seq`,
      { traceId },
    );
    return rows.map(({ at, type, lsn, seq }) => `${at.slice(11, 23)}  ${type.padEnd(20)}  lsn ${lsn}, seq ${seq}`);
  }

  async whoTouched(orderId: string): Promise<string[]> {
    const rows = await this.#rows<{ at: string; type: string; actor: string }>(
      `SELECT toString(event_date_time) AS at, event_type AS type, event_context.actor::String AS actor
         FROM events WHERE event_context.orderId::String = {orderId:String} ORDER BY lsn, seq`,
      { orderId },
    );
    return rows.map(({ at, type, actor }) => `${at.slice(11, 23)}  ${type.padEnd(20)}  ${actor}`);
  }

  async close(): Promise<void> {
    await this.#clickhouse.close();
  }

  async #rows<Row>(query: string, parameters: Record<string, string> = {}): Promise<Row[]> {
    const result = await this.#clickhouse.query({
      query,
      query_params: parameters,
      format: 'JSONEachRow',
      clickhouse_settings: { output_format_json_quote_64bit_integers: 0 },
    });
    return result.json<Row>();
  }
}

export function count(n: number): string {
  return n.toLocaleString('en-US');
}
