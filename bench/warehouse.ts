import { setTimeout as sleep } from 'node:timers/promises';
import { ClickHouseLogLevel, createClient, type ClickHouseClient } from '@clickhouse/client';
import { startClickHouse, type EmbeddedClickHouse } from '../src/embedded/clickhouse.ts';
import { migrateClickHouse } from '../src/streamer/commands/migrate-clickhouse.ts';
import type { Worker } from './worker.ts';

/** A count costs ClickHouse about a millisecond of CPU, so it is frequent only near the end. */
const POLL_MS = 25;
const FAR_POLL_MS = 200;
const NEAR = 0.85;
/** Even the slowest contestant adds a row within this time. */
const STUCK_MS = 120_000;

/** The ClickHouse of one measurement, with the table that `migrate` creates, and what the benchmarks do with it. */
export class Warehouse implements AsyncDisposable {
  readonly server: EmbeddedClickHouse;
  readonly client: ClickHouseClient;

  private constructor(server: EmbeddedClickHouse) {
    this.server = server;
    this.client = createClient({
      url: server.url,
      request_timeout: 300_000,
      log: { level: ClickHouseLogLevel.OFF },
    });
  }

  /** @param typed whether the table types the JSON, or has only the text */
  static async start(typed = true): Promise<Warehouse> {
    const warehouse = new Warehouse(await startClickHouse());
    await migrateClickHouse(warehouse.server.url, { table: 'events' }, () => undefined);
    if (!typed) await warehouse.command('ALTER TABLE events DROP COLUMN event_context');
    return warehouse;
  }

  /** Starts a server on a directory that outlives it. Creates no table. */
  static async attach(directory: string): Promise<Warehouse> {
    return new Warehouse(await startClickHouse({ directory }));
  }

  get url(): string {
    return this.server.url;
  }

  get pid(): number {
    return this.server.pid;
  }

  async command(query: string, settings: Record<string, string | number> = {}): Promise<void> {
    await this.client.command({ query, clickhouse_settings: settings });
  }

  async select<Row>(query: string): Promise<Row[]> {
    const result = await this.client.query({
      query,
      format: 'JSONEachRow',
      clickhouse_settings: { output_format_json_quote_64bit_integers: 0 },
    });
    return result.json<Row>();
  }

  async count(): Promise<number> {
    const [row] = await this.select<{ n: number }>('SELECT count() AS n FROM events');
    return row!.n;
  }

  /**
   * Resolves when `there` reports that so many rows can be queried. Throws if its answer does not change for two minutes, or if
   * the worker that should deliver them has ended.
   */
  async until(rows: number, by?: Worker, there: () => Promise<number> = async () => this.count()): Promise<void> {
    let seen = -1;
    let changedAt = performance.now();
    for (;;) {
      const now = await there();
      if (now >= rows) return;
      by?.mustRun();
      if (now !== seen) changedAt = performance.now();
      else if (performance.now() - changedAt > STUCK_MS) throw new Error(`stuck at ${now} of ${rows} rows`);
      seen = now;
      await sleep(now < NEAR * rows ? FAR_POLL_MS : POLL_MS);
    }
  }

  /** Counts rows, and duplicates: rows beyond the first of each event. */
  async verify(table = 'events', key = 'event_id'): Promise<{ rows: number; doubles: number }> {
    const [found] = await this.select<{ rows: number; doubles: number }>(
      `SELECT count() AS rows, count() - uniqExact(${key}) AS doubles FROM ${table}`,
    );
    return found!;
  }

  /** INSERT statements, and the parts that they created, since the server started. */
  async written(): Promise<{ inserts: number; parts: number }> {
    const [found] = await this.select<{ inserts: number; parts: number }>(
      `SELECT sumIf(value, event = 'InsertQuery') AS inserts, sumIf(value, event = 'MergeTreeDataWriterBlocks') AS parts
         FROM system.events`,
    );
    return found!;
  }

  /** Rows and bytes of contexts of each INSERT of the streamer, in the order of the inserts. */
  async inserts(): Promise<{ rows: number; bytes: number }[]> {
    return this.select(
      'SELECT count() AS rows, sum(length(event_context_text)) AS bytes FROM events GROUP BY delivered_at ORDER BY delivered_at',
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.client.close();
    await this.server.dispose();
  }
}
