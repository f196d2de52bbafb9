import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import { startPostgres, type EmbeddedPostgres } from '../src/embedded/postgres.ts';
import { migratePostgres } from '../src/streamer/commands/migrate-postgres.ts';
import { notes } from './notes.ts';

/** The size of a backlog, and how it is committed. */
export interface Shape {
  readonly events: number;
  readonly perTransaction: number;
  /** Approximate bytes of JSON per event. */
  readonly bytes: number;
}

export type SourceTable = 'outbox.event' | 'peer.event';

const SETTINGS = {
  max_wal_size: '16GB',
  max_replication_slots: 100,
  // autovacuum would process the freshly filled tables in the middle of a measurement
  autovacuum: 'off',
};

/**
 * A migrated Postgres with fsync on, and what the benchmarks do with it. `peer.event` is for peers that need a primary key: it
 * has the outbox's columns behind an identity column.
 */
export class Source implements AsyncDisposable {
  readonly server: EmbeddedPostgres;
  readonly db: Client;
  #slots = 0;

  private constructor(server: EmbeddedPostgres) {
    this.server = server;
    this.db = new Client(server.url);
  }

  static async start(): Promise<Source> {
    const source = new Source(await startPostgres({ settings: SETTINGS }));
    await source.db.connect();
    await migratePostgres(source.url, 'outbox', () => undefined);
    await source.db.query(`
      CREATE SCHEMA peer;
      CREATE TABLE peer.event (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, LIKE outbox.event INCLUDING DEFAULTS);
      CREATE TABLE peer.note (long text, short text GENERATED ALWAYS AS (left(long, 400)) STORED)`);
    await source.db.query('INSERT INTO peer.note (long) SELECT unnest($1::text[])', [notes()]);
    for (const table of ['outbox.event', 'peer.event'] as const) await source.db.query(fillProcedure(table));
    return source;
  }

  get url(): string {
    return this.server.url;
  }

  get pid(): number {
    return this.server.pid;
  }

  /** Creates a slot with its ledger row. Its reader gets what is committed from now on. */
  async addSlot(): Promise<string> {
    const slot = `bench_${++this.#slots}`;
    await migratePostgres(this.url, slot, () => undefined);
    return slot;
  }

  /** Waits until nobody holds the slot, then drops it, so that it retains no WAL. */
  async dropSlot(slot: string): Promise<void> {
    const held = 'SELECT FROM pg_replication_slots WHERE slot_name = $1 AND active';
    while ((await this.db.query(held, [slot])).rowCount !== 0) await sleep(20);
    await this.db.query('SELECT pg_drop_replication_slot($1)', [slot]);
  }

  /** Waits for the walsender that serves the slot, and returns its process id. */
  async walsender(slot: string): Promise<number> {
    for (;;) {
      const { rows } = await this.db.query<{ pid: number | null }>(
        'SELECT active_pid AS pid FROM pg_replication_slots WHERE slot_name = $1',
        [slot],
      );
      const pid = rows[0]?.pid;
      if (typeof pid === 'number') return pid;
      await sleep(5);
    }
  }

  /** Commits a backlog. The commits do not wait for the disk, because only its readers are measured. */
  async addBacklog({ events, perTransaction, bytes }: Shape, table: SourceTable = 'outbox.event'): Promise<void> {
    await this.db.query('SET synchronous_commit = off');
    await this.commit(Math.ceil(events / perTransaction), perTransaction, bytes, table);
    await this.db.query('RESET synchronous_commit');
    await this.db.query('CHECKPOINT');
  }

  async commit(
    transactions: number,
    size: number,
    bytes: number,
    table: SourceTable = 'outbox.event',
    db = this.db,
  ): Promise<void> {
    await db.query(`CALL ${procedureOf(table)}(${transactions}, ${size}, ${bytes})`);
  }

  /** The average size of a context in the table, in bytes. */
  async averageBytes(table: SourceTable): Promise<number> {
    const { rows } = await this.db.query<{ bytes: number }>(
      `SELECT avg(octet_length(event_context::text))::float8 AS bytes FROM (SELECT event_context FROM ${table} LIMIT 10000) sample`,
    );
    return rows[0]!.bytes;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.db.end();
    await this.server.dispose();
  }
}

function procedureOf(table: SourceTable): string {
  return `${table}_fill`.replace('outbox.', 'peer.outbox_');
}

/** Commits `transactions` × `size` events. Contexts below 200 bytes have neither note nor nested object. */
function fillProcedure(table: SourceTable): string {
  return `
    CREATE PROCEDURE ${procedureOf(table)}(transactions int, size int, bytes int) LANGUAGE plpgsql AS $$
    DECLARE
      notes text[] := (SELECT array_agg(left(CASE WHEN bytes < 500 THEN short ELSE long END, bytes - 165)) FROM peer.note WHERE bytes >= 200);
      sender text;
    BEGIN
      FOR t IN 1..transactions LOOP
        sender := '00-' || md5(t::text) || '-' || left(md5('span' || t), 16) || '-01';
        INSERT INTO ${table} (event_type, environment, event_context, traceparent)
        SELECT 'order.' || (i % 12), 'production',
               CASE WHEN notes IS NULL
                 THEN json_build_object('orderId', t::bigint * size + i, 'customer', 'c-' || (i::bigint * 7919 % 100000),
                                        'amount', (i % 1000) / 10.0, 'currency', 'EUR', 'items', i % 7)
                 ELSE json_build_object('orderId', t::bigint * size + i, 'customer', 'c-' || (i::bigint * 7919 % 100000),
                                        'amount', (i % 1000) / 10.0, 'currency', 'EUR', 'items', i % 7,
                                        'note', notes[(t::bigint * size + i) % cardinality(notes) + 1],
                                        'nested', json_build_object('a', i, 'b', 'text', 'c', true))
               END,
               sender
          FROM generate_series(1, size) i;
        COMMIT;
      END LOOP;
    END $$`;
}
