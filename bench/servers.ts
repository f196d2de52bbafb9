import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { ClickHouseLogLevel, createClient } from '@clickhouse/client';
import type { ClickHouseClient } from '@clickhouse/client';
import { Client } from 'pg';
import { startClickHouse } from '../src/embedded/clickhouse.ts';
import type { EmbeddedClickHouse } from '../src/embedded/clickhouse.ts';
import { startPostgres } from '../src/embedded/postgres.ts';
import type { EmbeddedPostgres } from '../src/embedded/postgres.ts';
import { migrateClickHouse, migratePostgres } from '../src/streamer/operations/migrate.ts';

const CLI = new URL('../packages/streamer/dist/streamer/cli.js', import.meta.url).pathname;

/** Real servers with fsync on, migrated, and what a benchmark asks of them. */
export class Servers implements AsyncDisposable {
  readonly postgres: EmbeddedPostgres;
  readonly clickhouse: EmbeddedClickHouse;
  readonly db: Client;
  readonly table: ClickHouseClient;

  private constructor(postgres: EmbeddedPostgres, clickhouse: EmbeddedClickHouse) {
    this.postgres = postgres;
    this.clickhouse = clickhouse;
    this.db = new Client(postgres.url);
    this.table = createClient({
      url: clickhouse.url,
      request_timeout: 120_000,
      log: { level: ClickHouseLogLevel.OFF },
    });
  }

  static async start(): Promise<Servers> {
    const [postgres, clickhouse] = await Promise.all([
      startPostgres({ settings: { max_wal_size: '8GB' } }),
      startClickHouse(),
    ]);
    const servers = new Servers(postgres, clickhouse);
    await migratePostgres(postgres.url, 'outbox', () => undefined);
    await migrateClickHouse(clickhouse.url, 'events', () => undefined);
    await servers.db.connect();
    return servers;
  }

  /** A streamer of its own process, built; resolves once it holds the slot. */
  async stream(environment: Record<string, string> = {}): Promise<Streamer> {
    const child = spawn(process.execPath, [CLI, 'run'], {
      env: {
        DATABASE_URL: this.postgres.url,
        CLICKHOUSE_URL: this.clickhouse.url,
        OUTBOX_HEALTH_PORT: '0',
        ...environment,
      },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const streamer = new Streamer(child);
    await streamer.attached;
    return streamer;
  }

  async select<Row>(query: string): Promise<Row[]> {
    const result = await this.table.query({
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

  /** Rows of each INSERT, in their order. */
  async inserts(): Promise<{ rows: number; bytes: number }[]> {
    return this.select(
      'SELECT count() AS rows, sum(length(event_context_text)) AS bytes FROM events GROUP BY delivered_at ORDER BY delivered_at',
    );
  }

  /** Makes a procedure that commits `transactions` × `size` events with contexts of about 320 bytes. */
  async prepareFill(): Promise<void> {
    await this.db.query(`
      CREATE PROCEDURE fill(transactions int, size int) LANGUAGE plpgsql AS $$
      BEGIN
        FOR t IN 1..transactions LOOP
          INSERT INTO outbox.event (event_type, environment, event_context, traceparent)
          SELECT 'order.' || (i % 12), 'production',
                 json_build_object('orderId', t * size + i, 'customer', 'c-' || (i::bigint * 7919 % 100000), 'amount', (i % 1000) / 10.0,
                                   'currency', 'EUR', 'items', i % 7, 'note', repeat('x', 150), 'nested', json_build_object('a', i, 'b', 'text', 'c', true)),
                 '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
            FROM generate_series(1, size) i;
          COMMIT;
        END LOOP;
      END $$`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.db.end();
    await this.table.close();
    await Promise.all([this.postgres.dispose(), this.clickhouse.dispose()]);
  }
}

export class Streamer {
  readonly attached: Promise<void>;
  readonly #child: ChildProcess;
  readonly #exit: Promise<unknown>;

  constructor(child: ChildProcess) {
    this.#child = child;
    this.#exit = once(child, 'exit');
    this.attached = new Promise<void>((resolve, reject) => {
      child.on('exit', () => reject(new Error('the streamer ended')));
      createInterface(child.stdout!).on('line', (line) => {
        if ((JSON.parse(line) as { msg: string }).msg === 'attached') resolve();
      });
    });
  }

  get pid(): number {
    return this.#child.pid!;
  }

  async end(signal: NodeJS.Signals): Promise<void> {
    this.#child.kill(signal);
    await this.#exit;
  }
}
