import { randomUUID } from 'node:crypto';
import { createClient, type ClickHouseClient } from '@clickhouse/client';
import { Client, escapeIdentifier, Pool, type ClientConfig } from 'pg';
import { inject } from 'vitest';
import { migratePostgres } from '../../src/streamer/commands/migrate.ts';
import { migrateClickHouse } from '../../src/streamer/commands/migrate-clickhouse.ts';
import { Streamer } from './streamer.ts';
import { COUNTING_VIEW } from './view.ts';
import { eventually } from './wait.ts';

const quiet = (): void => undefined;

export interface OutboxOptions {
  readonly migrated?: boolean;
  /** A superuser's URL of a Postgres of the test's own, which ends with it. Otherwise the one that all tests share. */
  readonly postgresUrl?: string;
  readonly clickhouseUrl?: string;
  /** Its name in both servers; otherwise one of its own. */
  readonly database?: string;
  /** What follows CREATE DATABASE in Postgres. */
  readonly createOptions?: string;
  /** On which the tables are made. */
  readonly cluster?: string;
  /** Makes a slot that standbys synchronise. */
  readonly failover?: boolean;
}

/** A Postgres database and a ClickHouse database of one test's own, migrated, and what starts streamers between them. */
export class Outbox implements AsyncDisposable {
  readonly slot: string;
  readonly databaseUrl: string;
  readonly clickhouseUrl: string;
  readonly postgres: Pool;
  readonly clickhouse: ClickHouseClient;
  readonly #streamers: Streamer[] = [];
  readonly #options: OutboxOptions;
  readonly #database: string;

  private constructor(slot: string, database: string, options: OutboxOptions) {
    const { postgresUrl = inject('postgresUrl'), clickhouseUrl = inject('clickhouseUrl') } = options;
    this.slot = slot;
    this.#database = database;
    this.#options = options;
    this.databaseUrl = withDatabase(postgresUrl, database);
    this.clickhouseUrl = withDatabase(clickhouseUrl, database);
    this.postgres = new Pool({ ...loginOf(postgresUrl), database, max: 8 });
    this.postgres.on('error', quiet);
    this.clickhouse = createClient({ url: withDatabase(clickhouseUrl, ''), database });
  }

  /** On the servers of all tests and under a name of its own, unless others are given. */
  static async create(options: OutboxOptions = {}): Promise<Outbox> {
    const { migrated = true, createOptions = '', database = '' } = options;
    const { postgresUrl = inject('postgresUrl'), clickhouseUrl = inject('clickhouseUrl') } = options;
    const slot = `t_${randomUUID().replaceAll('-', '')}`;
    const name = database || slot;
    await asAdministrator(postgresUrl, async (client) =>
      client.query(`CREATE DATABASE ${escapeIdentifier(name)} ${createOptions}`),
    );
    const admin = createClient({ url: clickhouseUrl });
    const onCluster = options.cluster === undefined ? '' : ` ON CLUSTER ${options.cluster}`;
    await admin.command({ query: `CREATE DATABASE ${quoted(name)}${onCluster}` });
    await admin.close();
    const outbox = new Outbox(slot, name, options);
    if (migrated) await outbox.migrate();
    return outbox;
  }

  async migrate(): Promise<void> {
    await migratePostgres(this.databaseUrl, this.slot, quiet, this.#options.failover);
    await migrateClickHouse(this.clickhouseUrl, { table: 'events', cluster: this.#options.cluster ?? '' }, quiet);
  }

  async eventOid(): Promise<number> {
    const { rows } = await this.postgres.query<{ oid: number }>("SELECT 'outbox.event'::regclass::oid AS oid");
    return rows[0]!.oid;
  }

  /** Adds a view that counts what arrives; see `viewed`. */
  async addView(): Promise<void> {
    for (const query of COUNTING_VIEW) await this.clickhouse.command({ query });
  }

  /** How many events the view has counted. */
  async viewed(): Promise<number> {
    const [counted] = await this.select<{ n: number }>('SELECT sum(n) AS n FROM counts');
    return counted!.n;
  }

  /** Starts a streamer process; it ends with the test. */
  stream(environment: Record<string, string> = {}): Streamer {
    const streamer = new Streamer({
      DATABASE_URL: this.databaseUrl,
      CLICKHOUSE_URL: this.clickhouseUrl,
      OUTBOX_SLOT: this.slot,
      ...environment,
    });
    this.#streamers.push(streamer);
    return streamer;
  }

  /** Puts `count` events into the outbox, in one transaction; their contexts say which they are. */
  async fill(count: number, type = 'test.filled'): Promise<void> {
    await this.postgres.query(
      `INSERT INTO outbox.event (event_type, event_context) SELECT $1, json_build_object('n', n) FROM generate_series(1, $2::int) n`,
      [type, count],
    );
  }

  async select<Row>(query: string): Promise<Row[]> {
    const result = await this.clickhouse.query({
      query,
      format: 'JSONEachRow',
      clickhouse_settings: { output_format_json_quote_64bit_integers: 0 },
    });
    return result.json<Row>();
  }

  /** Rows in ClickHouse, and how many different events they are. */
  async delivered(): Promise<{ rows: number; events: number }> {
    const [counts] = await this.select<{ rows: number; events: number }>(
      'SELECT count() AS rows, uniqExact(event_id) AS events FROM events',
    );
    return counts!;
  }

  async untilDelivered(count: number): Promise<void> {
    await eventually(`${count} events in ClickHouse`, async () => (await this.delivered()).events >= count, 60_000);
  }

  async ledger(slot = this.slot): Promise<Record<string, string | null>> {
    const { rows } = await this.postgres.query('SELECT * FROM outbox.stream WHERE slot_name = $1', [slot]);
    return rows[0];
  }

  /** Is an event settled whose transaction committed behind this position? */
  async settledBeyond(lsn: string): Promise<boolean> {
    const { rows } = await this.postgres.query(
      'SELECT delivered_lsn > $2::pg_lsn AS yes FROM outbox.stream WHERE slot_name = $1',
      [this.slot, lsn],
    );
    return rows[0].yes;
  }

  /** Is everything that was written so far acknowledged? */
  async confirmed(lsn: string, slot = this.slot): Promise<boolean> {
    const { rows } = await this.postgres.query(
      'SELECT confirmed_flush_lsn >= $2::pg_lsn AS yes FROM pg_replication_slots WHERE slot_name = $1',
      [slot, lsn],
    );
    return rows[0].yes;
  }

  /** Is everything that was written so far delivered, by the word of the streamer? */
  async applied(lsn: string, slot = this.slot): Promise<boolean> {
    const { rows } = await this.postgres.query(
      `SELECT replay_lsn >= $2::pg_lsn AS yes FROM pg_stat_replication r JOIN pg_replication_slots s ON s.active_pid = r.pid WHERE slot_name = $1`,
      [slot, lsn],
    );
    return rows[0]?.yes === true;
  }

  /** Has the walsender sent everything up to here? */
  async sent(lsn: string): Promise<boolean> {
    const { rows } = await this.postgres.query(
      `SELECT sent_lsn >= $2::pg_lsn AS yes FROM pg_stat_replication r JOIN pg_replication_slots s ON s.active_pid = r.pid WHERE slot_name = $1`,
      [this.slot, lsn],
    );
    return rows[0]?.yes === true;
  }

  async walEnd(): Promise<string> {
    const { rows } = await this.postgres.query('SELECT pg_current_wal_lsn() AS lsn');
    return rows[0].lsn;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#streamers.map((streamer) => streamer.kill()));
    await this.postgres.end();
    const onCluster = this.#options.cluster === undefined ? '' : ` ON CLUSTER ${this.#options.cluster} SYNC`;
    await this.clickhouse.command({ query: `DROP DATABASE ${quoted(this.#database)}${onCluster}` });
    await this.clickhouse.close();
    if (this.#options.postgresUrl !== undefined) return;
    await asAdministrator(inject('postgresUrl'), async (client) => {
      const slot = 'SELECT FROM pg_replication_slots WHERE slot_name = $1';
      await eventually(
        'the slot is free',
        async () => (await client.query(`${slot} AND active`, [this.slot])).rowCount === 0,
      );
      await client.query(`SELECT pg_drop_replication_slot($1) WHERE EXISTS (${slot})`, [this.slot]);
      await client.query(`DROP DATABASE ${escapeIdentifier(this.#database)} WITH (FORCE)`);
    });
  }
}

async function asAdministrator(url: string, work: (client: Client) => Promise<unknown>): Promise<void> {
  const client = new Client(url);
  await client.connect();
  try {
    await work(client);
  } finally {
    await client.end();
  }
}

/** As an identifier of ClickHouse. */
function quoted(name: string): string {
  return `\`${name.replaceAll(/[`\\]/g, '\\$&')}\``;
}

export function withDatabase(url: string, name: string): string {
  const other = new URL(url);
  other.pathname = `/${encodeURIComponent(name)}`;
  return other.href;
}

/** The driver takes no database of every name out of a URL. */
function loginOf(url: string): ClientConfig {
  const { hostname, port, username, password } = new URL(url);
  return {
    host: hostname,
    port: Number(port),
    user: decodeURIComponent(username),
    password: decodeURIComponent(password),
  };
}
