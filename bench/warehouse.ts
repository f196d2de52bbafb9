import { setTimeout as sleep } from 'node:timers/promises';
import { ClickHouseLogLevel, createClient } from '@clickhouse/client';
import type { ClickHouseClient } from '@clickhouse/client';
import { startClickHouse } from '../src/embedded/clickhouse.ts';
import type { EmbeddedClickHouse } from '../src/embedded/clickhouse.ts';
import { migrateClickHouse } from '../src/streamer/commands/migrate.ts';
import type { Worker } from './worker.ts';

/** A question costs ClickHouse about a millisecond of CPU: often only where the end is near. */
const POLL_MS = 25;
const FAR_POLL_MS = 200;
const NEAR = 0.85;
/** Nothing is so slow that no further row can be queried for so long. */
const STUCK_MS = 120_000;

/** A ClickHouse of one measurement, with the table that `migrate` makes, and what a benchmark asks of it. */
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

  /** @param typed whether the table types the JSON, or keeps the text alone */
  static async start(typed = true): Promise<Warehouse> {
    const warehouse = new Warehouse(await startClickHouse());
    await migrateClickHouse(warehouse.server.url, 'events', () => undefined);
    if (!typed) await warehouse.command('ALTER TABLE events DROP COLUMN event_context');
    return warehouse;
  }

  /** On a directory that outlives it, without a table. */
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
   * Resolves when `there` says that so many rows can be queried; throws when it says nothing new for minutes, or when who
   * should deliver them has ended.
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

  /** Rows, and how many of them are not the first of their event. */
  async verify(table = 'events', key = 'event_id'): Promise<{ rows: number; doubles: number }> {
    const [found] = await this.select<{ rows: number; doubles: number }>(
      `SELECT count() AS rows, count() - uniqExact(${key}) AS doubles FROM ${table}`,
    );
    return found!;
  }

  /** INSERT statements and the parts that they made, since the server's start. */
  async written(): Promise<{ inserts: number; parts: number }> {
    const [found] = await this.select<{ inserts: number; parts: number }>(
      `SELECT sumIf(value, event = 'InsertQuery') AS inserts, sumIf(value, event = 'MergeTreeDataWriterBlocks') AS parts
         FROM system.events`,
    );
    return found!;
  }

  /** Rows and bytes of contexts of each INSERT of the streamer, in their order. */
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
