import { formatLsn } from '../../lsn.ts';
import type { ClickHouse } from '../clickhouse/client.ts';
import { whereCurrent } from '../clickhouse/current.ts';
import type { Database } from '../source/database.ts';
import { isoHour, type Hour, type Manifest } from './manifest.ts';

/** ClickHouse's table of manifests. @param table of the events */
export const manifestsOf = (table: string): string => `${table}_manifests`;

const AT_ONCE = 500;

/** What is asked of a manifest again and again: the lists of digests may be long. */
export type Entry = Pick<Manifest, 'number' | 'hour' | 'part' | 'events' | 'lastDeliveredAt' | 'hash'>;

const US = (column: string): string => `floor(extract(epoch FROM ${column}) * 1000000)::int8::text`;
const PG_COLUMNS = `source, number::float8 AS number, floor(extract(epoch FROM hour) / 3600)::float8 AS hour, part, events::float8 AS events,
  (first_lsn - '0/0')::text AS "firstLsn", (last_lsn - '0/0')::text AS "lastLsn", ${US('last_delivered_at')} AS "lastDeliveredAt",
  witnessed, delivered, added, absent, ${US('made_at')} AS "madeAt", previous, key_id AS "keyId", hash, signature`;

/** The manifests of one source in Postgres, which is where they are made. Throws OUTBOX_PG_*. */
export class OutboxManifests {
  readonly #db: Database;
  readonly #source: string;

  constructor(db: Database, source: string) {
    this.#db = db;
    this.#source = source;
  }

  /** The latest part of each hour from one on, and of earlier hours of which something was absent. */
  async latest(from: Hour): Promise<Map<Hour, Entry>> {
    const { rows } = await this.#db.query<Entry>(
      `SELECT number::float8 AS number, floor(extract(epoch FROM l.hour) / 3600)::float8 AS hour, part, events::float8 AS events,
              ${US('last_delivered_at')} AS "lastDeliveredAt", hash
         FROM (SELECT DISTINCT ON (m.hour) * FROM outbox.manifest m WHERE source = $1 ORDER BY m.hour, part DESC) AS l
        WHERE l.hour >= $2 OR cardinality(absent) > 0`,
      [this.#source, isoHour(from)],
    );
    return new Map(rows.map((row) => [row.hour, row]));
  }

  /** The one of a number; the last one without a number. */
  async find(number?: number): Promise<Manifest | undefined> {
    const { rows } = await this.#db.query<Manifest & { hour: number }>(
      `SELECT ${PG_COLUMNS} FROM outbox.manifest m WHERE source = $1 AND ($2::int8 IS NULL OR m.number = $2) ORDER BY m.number DESC LIMIT 1`,
      [this.#source, number ?? null],
    );
    return rows[0];
  }

  async after(number: number): Promise<Manifest[]> {
    const { rows } = await this.#db.query<Manifest & { hour: number }>(
      `SELECT ${PG_COLUMNS} FROM outbox.manifest m WHERE source = $1 AND m.number > $2 ORDER BY m.number LIMIT ${AT_ONCE}`,
      [this.#source, number],
    );
    return rows;
  }

  /**
   * Returns false, and has written nothing, where the ledger has another epoch by now, or another process was first: it has made a
   * manifest of this number, or this part of the hour.
   */
  async add(manifest: Manifest, slot: string, epoch: number): Promise<boolean> {
    const { firstLsn, lastLsn, hour } = manifest;
    const { count } = await this.#db.query(
      `INSERT INTO outbox.manifest (source, number, hour, part, events, first_lsn, last_lsn, last_delivered_at, witnessed, delivered,
                                    added, absent, made_at, previous, key_id, hash, signature)
       SELECT $1::text, $2::int8, $3::timestamptz, $4::int4, $5::int8, $6::pg_lsn, $7::pg_lsn,
              timestamptz 'epoch' + $8::int8 * interval '1 microsecond', $9::text, $10::text, $11::text[], $12::text[],
              timestamptz 'epoch' + $13::int8 * interval '1 microsecond', $14::text, $15::text, $16::text, $17::text
         FROM (SELECT FROM outbox.stream WHERE slot_name = $18 AND epoch = $19 FOR SHARE) AS ours
       ON CONFLICT DO NOTHING`,
      [
        this.#source,
        manifest.number,
        isoHour(hour),
        manifest.part,
        manifest.events,
        formatLsn(Number(firstLsn)),
        formatLsn(Number(lastLsn)),
        manifest.lastDeliveredAt,
        manifest.witnessed,
        manifest.delivered,
        manifest.added,
        manifest.absent,
        manifest.madeAt,
        manifest.previous,
        manifest.keyId,
        manifest.hash,
        manifest.signature,
        slot,
        epoch,
      ],
    );
    return count === 1;
  }

  /** Now, by Postgres' clock, in µs since 1970. */
  async now(): Promise<string> {
    const { rows } = await this.#db.query<{ us: string }>(`SELECT ${US('clock_timestamp()')} AS us`);
    return rows[0]!.us;
  }
}

interface Row extends Omit<Manifest, 'number' | 'hour' | 'part' | 'events'> {
  number: string;
  hour: string;
  part: number;
  events: string;
}

const CH_US = (column: string): string => `toString(toUnixTimestamp64Micro(${column}))`;
const CH_COLUMNS = `source, toString(m.number) AS number, toString(intDiv(toUnixTimestamp(m.hour), 3600)) AS hour, part, toString(m.events) AS events,
  toString(first_lsn) AS firstLsn, toString(last_lsn) AS lastLsn, ${CH_US('last_delivered_at')} AS lastDeliveredAt,
  witnessed, delivered, added, absent, ${CH_US('made_at')} AS madeAt, previous, key_id AS keyId, hash, signature`;

/** The manifests in ClickHouse: the copy that an auditor reads. Throws OUTBOX_CH_*. */
export class TableManifests {
  readonly #clickhouse: ClickHouse;
  readonly #table: string;

  /** @param table of the events */
  constructor(clickhouse: ClickHouse, table: string) {
    this.#clickhouse = clickhouse;
    this.#table = manifestsOf(table);
  }

  async isThere(): Promise<boolean> {
    const found = await this.#clickhouse.select(
      'SELECT name FROM system.tables WHERE database = currentDatabase() AND name = {table:String}',
      { table: this.#table },
    );
    return found.length > 0;
  }

  async sources(): Promise<string[]> {
    const current = await whereCurrent(this.#clickhouse, this.#table);
    const rows = await this.#clickhouse.select<{ source: string }>(
      `SELECT DISTINCT toString(source) AS source FROM {table:Identifier} WHERE ${current} ORDER BY source`,
      { table: this.#table },
    );
    return rows.map(({ source }) => source);
  }

  /** Of a source, in the order of the chain, behind a number. */
  async *after(source: string, number: number): AsyncGenerator<Manifest, void, undefined> {
    const current = await whereCurrent(this.#clickhouse, this.#table);
    const rows = this.#clickhouse.stream<Row>(
      `SELECT ${CH_COLUMNS} FROM {table:Identifier} AS m WHERE ${current} AND m.source = {source:String} AND m.number > {number:UInt64} ORDER BY m.number, hash`,
      { table: this.#table, source, number },
    );
    for await (const chunk of rows)
      for (const row of chunk)
        yield { ...row, number: Number(row.number), hour: Number(row.hour), events: Number(row.events) };
  }

  async last(source: string): Promise<{ number: number; hash: string } | undefined> {
    const current = await whereCurrent(this.#clickhouse, this.#table);
    const [row] = await this.#clickhouse.select<{ last: string; hash: string }>(
      `SELECT toString(m.number) AS last, hash FROM {table:Identifier} AS m WHERE ${current} AND m.source = {source:String} ORDER BY m.number DESC LIMIT 1`,
      { table: this.#table, source },
    );
    return row && { number: Number(row.last), hash: row.hash };
  }

  /** The same manifest again is dropped by its token. */
  async add(manifest: Manifest, signal: AbortSignal): Promise<void> {
    const { source, number, hash } = manifest;
    const time = (us: string): string => `${us.slice(0, -6) || '0'}.${us.slice(-6).padStart(6, '0')}`;
    const row = {
      source,
      number,
      hour: manifest.hour * 3600,
      part: manifest.part,
      events: manifest.events,
      first_lsn: manifest.firstLsn,
      last_lsn: manifest.lastLsn,
      last_delivered_at: time(manifest.lastDeliveredAt),
      witnessed: manifest.witnessed,
      delivered: manifest.delivered,
      added: manifest.added,
      absent: manifest.absent,
      made_at: time(manifest.madeAt),
      previous: manifest.previous,
      key_id: manifest.keyId,
      hash,
      signature: manifest.signature,
    };
    const token = `${source}/manifest/${number}/${hash}`;
    await this.#clickhouse.insert(
      {
        query: 'INSERT INTO {table:Identifier} FORMAT JSONEachRow',
        parameters: { table: this.#table },
        body: [Buffer.from(`${JSON.stringify(row)}\n`)],
        rows: 1,
        token,
        queryId: `${token}/${Date.now()}`,
      },
      signal,
    );
  }
}
