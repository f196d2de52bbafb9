import { setTimeout as sleep } from 'node:timers/promises';
import { Pool } from 'pg';
import { readConfig, type Config } from '../../src/streamer/config.ts';
import type { Outbox } from './outbox.ts';
import type { Streamer } from './streamer.ts';
import { eventually } from './wait.ts';

/** An outbox whose shares have a table each, and the whole of it another: `events_all` reads them all. */
export class Shared {
  readonly outbox: Outbox;

  private constructor(outbox: Outbox) {
    this.outbox = outbox;
  }

  static async create(outbox: Outbox): Promise<Shared> {
    for (const table of ['events_1', 'events_2', 'events_3'])
      await outbox.clickhouse.command({ query: `CREATE TABLE ${table} AS events` });
    await outbox.clickhouse.command({
      query: `CREATE TABLE events_all AS events ENGINE = Merge(currentDatabase(), '^events(_[123])?$')`,
    });
    return new Shared(outbox);
  }

  env(shard: string): Record<string, string> {
    return {
      OUTBOX_SHARD: shard,
      OUTBOX_CLICKHOUSE_TABLE: shard === '' ? 'events' : `events_${shard[0]}`,
      OUTBOX_INSERT_TIMEOUT_MS: '1000',
    };
  }

  config(shard: string, more: Record<string, string> = {}): Config {
    const { databaseUrl, clickhouseUrl, slot } = this.outbox;
    const urls = { DATABASE_URL: databaseUrl, CLICKHOUSE_URL: clickhouseUrl, OUTBOX_SLOT: slot };
    return readConfig({ ...urls, ...this.env(shard), ...more });
  }

  stream(shard: string): Streamer {
    return this.outbox.stream(this.env(shard));
  }

  async counts(): Promise<{ rows: number; events: number }> {
    const [found] = await this.outbox.select<{ rows: number; events: number }>(
      'SELECT count() AS rows, uniqExact(event_id) AS events FROM events_all',
    );
    return found!;
  }

  async more(): Promise<void> {
    const { events } = await this.counts();
    await eventually('more events', async () => (await this.counts()).events > events + 20, 60_000);
  }
}

/** Writes events until it is stopped, in transactions with savepoints, some of them rolled back; tells how many were committed. */
export function produce(outbox: Outbox): { stop: () => Promise<number> } & AsyncDisposable {
  const pool = new Pool({ connectionString: outbox.databaseUrl, max: 3 });
  const insert = (type: string): string =>
    `INSERT INTO outbox.event (event_type, event_context) VALUES ('test.${type}', '{}')`;
  const over = new AbortController();
  const write = async (): Promise<number> => {
    let committed = 0;
    const client = await pool.connect();
    for (let n = 0; !over.signal.aborted; n++) {
      const isCommitted = n % 10 !== 9;
      await client.query(
        `BEGIN; ${insert('shared')}; SAVEPOINT one; ${insert('shared')}; RELEASE one;
         SAVEPOINT two; ${insert('undone')}; ROLLBACK TO two; ${isCommitted ? 'COMMIT' : 'ROLLBACK'}`,
      );
      if (isCommitted) committed += 2;
      // few enough to be compared in a moment
      await sleep(10);
    }
    client.release();
    return committed;
  };
  const writing = Promise.all([write(), write(), write()]);
  const stop = async (): Promise<number> => {
    over.abort();
    return (await writing).reduce((sum, each) => sum + each, 0);
  };
  return {
    stop,
    [Symbol.asyncDispose]: async () => {
      await stop();
      await pool.end();
    },
  };
}
