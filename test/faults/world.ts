import { setTimeout as sleep } from 'node:timers/promises';
import { ClickHouseLogLevel, createClient, type ClickHouseClient } from '@clickhouse/client';
import { Client, Pool } from 'pg';
import { startClickHouse, type EmbeddedClickHouse } from '../../src/embedded/clickhouse.ts';
import { startPostgres, type EmbeddedPostgres } from '../../src/embedded/postgres.ts';
import { migratePostgres } from '../../src/streamer/commands/migrate-postgres.ts';
import { migrateClickHouse } from '../../src/streamer/commands/migrate-clickhouse.ts';
import { COUNTING_VIEW } from '../support/view.ts';
import { addAccounts, DATABASE } from './accounts.ts';
import { FormerTable } from './former.ts';
import { Gate } from './gate.ts';
import { Host } from './host.ts';
import type { Journal } from './journal.ts';

const SLOT = 'outbox';
/** A table that is detached may be in use for a while. */
const COMMAND_MS = 30_000;
const quiet = (): void => undefined;
/** Every state that the ledger was in, in their order. */
const HISTORY = `
  CREATE TABLE history (n bigserial, epoch bigint, delivered_lsn pg_lsn, delivered_seq bigint);
  CREATE FUNCTION record() RETURNS trigger LANGUAGE plpgsql AS $$
  BEGIN
    INSERT INTO public.history (epoch, delivered_lsn, delivered_seq) VALUES (NEW.epoch, NEW.delivered_lsn, NEW.delivered_seq);
    RETURN NULL;
  END $$;
  CREATE TRIGGER record AFTER UPDATE ON outbox.stream FOR EACH ROW EXECUTE FUNCTION record();
`;

export interface Ledger {
  readonly delivered_lsn: string;
  readonly delivered_seq: string;
  readonly pending_lsn: string | null;
  readonly pending_token: string | null;
}

/** Two databases, a gate before one of them, and two hosts for streamers, one of which is the one that streams. */
export class World implements AsyncDisposable {
  readonly postgres: EmbeddedPostgres;
  readonly clickhouse: EmbeddedClickHouse;
  readonly gate: Gate;
  main: Host;
  spare: Host;
  readonly journal: Journal;
  /** Where the table was a team's own. */
  readonly former: FormerTable | undefined;
  readonly #pool: Pool;
  readonly #client: ClickHouseClient;

  private constructor(
    postgres: EmbeddedPostgres,
    clickhouse: EmbeddedClickHouse,
    gate: Gate,
    hosts: readonly [Host, Host],
    { journal, former }: Pick<World, 'journal' | 'former'>,
  ) {
    this.former = former;
    this.postgres = postgres;
    this.clickhouse = clickhouse;
    this.gate = gate;
    [this.main, this.spare] = hosts;
    this.journal = journal;
    this.#pool = new Pool({ connectionString: postgres.url, max: 4, connectionTimeoutMillis: 2000 });
    this.#pool.on('error', quiet);
    this.#client = createClient({
      url: clickhouse.url,
      request_timeout: 60_000,
      // a question that fails is asked again
      log: { level: ClickHouseLogLevel.OFF },
    });
  }

  /**
   * @param cli the streamer's entry, when it is not this repository's own
   * @param isAdopted the table was a team's own before
   */
  static async create(journal: Journal, cli?: string, isAdopted = false): Promise<World> {
    const [postgres, clickhouse] = await Promise.all([
      startPostgres({
        settings: {
          // transactions of more than a few rows are spilled to disk and read again
          logical_decoding_work_mem: '64kB',
          // what is not made durable by its own commit is lost in a crash, as likely as not
          wal_writer_delay: '10s',
        },
      }),
      // tables of this engine’s own database have no identity
      startClickHouse({ database: DATABASE }),
    ]);
    await addAccounts(clickhouse);
    await migratePostgres(postgres.url, SLOT, quiet);
    const db = new Client(postgres.url);
    await db.connect();
    await db.query(HISTORY);
    await db.end();
    const former = isAdopted ? await FormerTable.adopt(clickhouse.url) : undefined;
    await migrateClickHouse(clickhouse.url, { table: 'events' }, quiet);
    if (former === undefined) {
      const client = createClient({ url: clickhouse.url });
      for (const query of COUNTING_VIEW) await client.command({ query });
      await client.close();
    }
    const { gate, url } = await Gate.to(new URL(clickhouse.url));
    const host = async (name: string): Promise<Host> =>
      Host.create({ name, postgresUrl: new URL(postgres.url), clickhouseUrl: new URL(url), cli, journal });
    return new World(postgres, clickhouse, gate, [await host('A'), await host('B')], { journal, former });
  }

  /** The spare host's streamer is the one now. */
  swap(): void {
    [this.main, this.spare] = [this.spare, this.main];
  }

  /** Asks Postgres, not through a link. Fails while it is away. */
  async ask<Row extends object>(query: string, values: unknown[] = []): Promise<Row[]> {
    const { rows } = await this.#pool.query<Row>(query, values);
    return rows;
  }

  /** Asks ClickHouse, not through a link. Fails while it is away, or does not answer within `timeoutMs`. */
  async select<Row>(query: string, timeoutMs = 60_000): Promise<Row[]> {
    const result = await this.#client.query({
      query,
      format: 'JSONEachRow',
      abort_signal: AbortSignal.timeout(timeoutMs),
      clickhouse_settings: { output_format_json_quote_64bit_integers: 0 },
    });
    return result.json<Row>();
  }

  /** Has ClickHouse do something, again until it does. */
  async command(query: string): Promise<void> {
    const isDone = await this.within(COMMAND_MS, async () => {
      await this.#client.command({ query });
      return true;
    });
    if (!isDone) throw new Error(`ClickHouse does not do it: ${query}`);
  }

  async ledger(): Promise<Ledger> {
    const [row] = await this.ask<Ledger>(
      'SELECT delivered_lsn, delivered_seq, pending_lsn, pending_token FROM outbox.stream WHERE slot_name = $1',
      [SLOT],
    );
    return row!;
  }

  async confirmedLsn(): Promise<string> {
    const [row] = await this.ask<{ lsn: string }>(
      'SELECT confirmed_flush_lsn AS lsn FROM pg_replication_slots WHERE slot_name = $1',
      [SLOT],
    );
    return row!.lsn;
  }

  /** Up to where the streamer says that all is delivered, whether it may be acknowledged yet or not; throws while there is none. */
  async appliedLsn(): Promise<string> {
    const [row] = await this.ask<{ lsn: string }>(
      'SELECT replay_lsn AS lsn FROM pg_stat_replication JOIN pg_replication_slots ON active_pid = pid WHERE slot_name = $1',
      [SLOT],
    );
    return row!.lsn;
  }

  async walEnd(): Promise<string> {
    const [row] = await this.ask<{ lsn: string }>('SELECT pg_current_wal_lsn() AS lsn');
    return row!.lsn;
  }

  /** Whether it became true within the time. What cannot be asked is not true yet. */
  async within(ms: number, ask: () => boolean | Promise<boolean>): Promise<boolean> {
    const end = performance.now() + ms;
    for (;;) {
      try {
        if (await ask()) return true;
      } catch {
        // a database is away
      }
      if (performance.now() > end) return false;
      await sleep(15);
    }
  }

  /** Everything runs, everything passes, nothing is waited for. */
  async heal(): Promise<void> {
    this.gate.disarm();
    this.gate.alter = undefined;
    this.clickhouse.resume();
    await this.postgres.start();
    await this.clickhouse.start();
    for (const host of [this.main, this.spare]) host.heal();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.former?.close().catch(() => undefined);
    await this.main.close();
    await this.spare.close();
    await this.gate.close();
    await this.#pool.end();
    await this.#client.close();
    await this.postgres.dispose();
    await this.clickhouse.dispose();
  }
}
