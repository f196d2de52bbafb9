import { setTimeout as sleep } from 'node:timers/promises';
import { ClickHouseLogLevel, createClient } from '@clickhouse/client';
import { adoptTable } from '../../src/streamer/commands/migrate-clickhouse.ts';
import { COUNTING_VIEW } from '../support/view.ts';

const ROWS = 1_000_000;
const OLD = 'old';
const DIRECT = 'direct';
const DIGEST = `SELECT concat(toString(count()), ' ', toString(sum(cityHash64(event_type, event_date_time, environment, toString(event_context), metadata_version)))) AS digest
   FROM events WHERE event_type = '${OLD}'`;

/** A team's own table, which it filled by direct inserts before it was adopted, and goes on to fill so. */
export class FormerTable {
  readonly #url: string;
  readonly #digest: string;
  readonly #stop = new AbortController();
  readonly #inserting: Promise<void>;

  private constructor(url: string, digest: string) {
    this.#url = url;
    this.#digest = digest;
    this.#inserting = this.#insert();
  }

  /** Makes the table, with a million rows and a view that counts, and adopts it. */
  static async adopt(url: string): Promise<FormerTable> {
    const client = createClient({ url });
    const [target = '', view = ''] = COUNTING_VIEW;
    await client.command({
      query: `CREATE TABLE events (event_type String, event_date_time DateTime, environment String, event_context JSON, metadata_version UInt64)
                ENGINE = MergeTree ORDER BY (event_type, event_date_time)`,
    });
    // remembers no token yet
    await client.command({ query: target.replace(/SETTINGS .*$/s, '') });
    await client.command({ query: view });
    await client.command({
      query: `INSERT INTO events (event_type, event_date_time, environment, event_context, metadata_version)
              SELECT '${OLD}', toDateTime('2024-01-01 00:00:00') + number, 'prod', concat('{"n":', toString(number), '}'), number FROM numbers(${ROWS})`,
    });
    const digest = await digestOf(url);
    await client.close();
    const isAdopted = await adoptTable(
      url,
      { table: 'events' },
      { names: new Map(), approve: async () => true, report: () => undefined },
    );
    if (!isAdopted) throw new Error('the table was not adopted');
    return new FormerTable(url, digest);
  }

  /** Rows that were there before, by type, as the view counts them. */
  get counts(): ReadonlyMap<string, number> {
    return new Map([[OLD, ROWS]]);
  }

  /** Whether nobody knows how many rows of the type there should be: nothing repeats a direct insert that fails. */
  isUncertain(type: string): boolean {
    return type === DIRECT;
  }

  /** Ends the direct inserts. Returns what is wrong with the rows that were there before. */
  async close(): Promise<string | undefined> {
    this.#stop.abort();
    await this.#inserting;
    const digest = await digestOf(this.#url);
    return digest === this.#digest ? undefined : `old rows are ${digest}, and were ${this.#digest}`;
  }

  async #insert(): Promise<void> {
    const client = createClient({ url: this.#url, request_timeout: 2000, log: { level: ClickHouseLogLevel.OFF } });
    while (!this.#stop.signal.aborted) {
      await client
        .command({
          query: `INSERT INTO events (event_type, event_date_time, environment, event_context, metadata_version) VALUES ('${DIRECT}', now(), 'prod', '{"n":1}', 1)`,
          clickhouse_settings: { deduplicate_insert: 'disable' },
        })
        .catch(() => undefined);
      // the pace of its inserts: there is nothing to wait for
      await sleep(100);
    }
    await client.close();
  }
}

async function digestOf(url: string): Promise<string> {
  const client = createClient({ url });
  const result = await client.query({ query: DIGEST, format: 'JSONEachRow' });
  const [row] = await result.json<{ digest: string }>();
  await client.close();
  return row!.digest;
}
