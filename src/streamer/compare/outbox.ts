import type pg from 'pg';
import type { Lsn } from '../../lsn.ts';
import type { Database } from '../source/database.ts';
import type { EventValues } from '../source/event-columns.ts';
import { IS_OF_ITS_DAY } from '../source/event-table.ts';
import { writtenTo } from '../source/wal-end.ts';
import type { EventTime } from '../clickhouse/event-time.ts';
import { OUTBOX_BUCKET, OUTBOX_FIELDS, OUTBOX_SUM, outboxRows } from './digest.ts';
import { addedUp, type Bucket } from './hours.ts';
import type { IdList } from './id-list.ts';
import type { Keyed } from './merge.ts';
import type { Range, Window } from './window.ts';

const FETCH_ROWS = 500;
const FETCH_DIGESTS = 5000;
/** Whole events are fetched by the dozen, and large ones one by one. */
const FETCH_EVENTS = 50;
const LARGE_BYTES = 65_536;
/** A smaller table is counted within seconds. */
const LARGE_TABLE_BYTES = 64 * 1024 * 1024;
/** Run-time parameters of a connection for snapshots: statements take long, and the transaction waits for the streamer. */
export const SNAPSHOT_PARAMETERS = {
  statement_timeout: '0',
  lock_timeout: '30s',
  idle_in_transaction_session_timeout: '0',
  // a cursor is read to its end
  cursor_tuple_fraction: '1',
} as const;

/** What a snapshot can see was committed before this position, and what was committed behind it, later than this time. */
export interface Horizon {
  readonly lsn: Lsn;
  /** µs since 1970, by Postgres' clock. */
  readonly us: bigint;
}

/** Which events are compared, and how. */
export interface Scope {
  /** A condition on the columns of outbox.event, see partOf; empty for all of it. */
  readonly part: string;
  /** What ClickHouse's table holds of a date. */
  readonly dates: EventTime;
}

/** A row of outbox.event, by its digest and FIELDS. Times are µs since 1970. */
export interface OutboxRow extends Keyed {
  readonly us: string;
  readonly recorded: string;
  readonly fields: string;
}

/** An event as Postgres would send it. */
export interface OutboxEvent extends Keyed, EventValues {
  readonly event_id: Buffer;
}

/**
 * outbox.event as one snapshot shows it. Reads only; its lock (ACCESS SHARE) is in nobody's way but TRUNCATE's and DDL's,
 * so that retention empties no bucket meanwhile. All streams are in chunks, through cursors. Throws OUTBOX_PG_*.
 */
export class OutboxSnapshot {
  readonly #db: Database;
  readonly #scope: Scope;
  /** The query of its rows. */
  readonly #rows: string;
  #cursors = 0;
  readonly horizon: Horizon;

  private constructor(db: Database, scope: Scope, horizon: Horizon) {
    this.#db = db;
    this.#scope = scope;
    this.#rows = outboxRows(scope.part, scope.dates);
    this.horizon = horizon;
  }

  /**
   * Begins a transaction on the connection, which has SNAPSHOT_PARAMETERS and serves nothing else until `close`.
   */
  static async take(db: Database, scope: Scope): Promise<OutboxSnapshot> {
    await begin(db);
    // before the snapshot: a TRUNCATE in between would show an empty bucket
    await db.query('LOCK TABLE outbox.event IN ACCESS SHARE MODE');
    const begun = await db.query<{ us: string }>('SELECT (extract(epoch FROM now()) * 1000000)::bigint AS us');
    // after the snapshot: the commit record of all that it shows lies before
    const lsn = await writtenTo(db);
    return new OutboxSnapshot(db, scope, { lsn, us: BigInt(begun.rows[0]!.us) });
  }

  /** The same with a snapshot that another session exports, of all that was committed before a position. */
  static async import(db: Database, scope: Scope, name: string, lsn: Lsn): Promise<OutboxSnapshot> {
    await begin(db);
    await db.query(`SET TRANSACTION SNAPSHOT '${name}'`);
    const { rows } = await db.query<{ us: string }>('SELECT (extract(epoch FROM now()) * 1000000)::bigint AS us');
    await db.query('LOCK TABLE outbox.event IN ACCESS SHARE MODE');
    return new OutboxSnapshot(db, scope, { lsn, us: BigInt(rows[0]!.us) });
  }

  async close(): Promise<void> {
    await this.#db.query('ROLLBACK');
  }

  /**
   * When the oldest row that is still there was recorded, in µs since 1970: retention has emptied what is older. What a row says that
   * belongs to another day is not believed.
   */
  async oldest(): Promise<bigint | undefined> {
    const ring = await this.#db.query(
      "SELECT FROM pg_attribute WHERE attrelid = 'outbox.event'::regclass AND attname = 'bucket' AND NOT attisdropped",
    );
    const believed = ring.count === 0 ? 'NULL' : `min(recorded_at) FILTER (WHERE ${IS_OF_ITS_DAY})`;
    const { rows } = await this.#db.query<{ us: string | null }>(
      `SELECT (extract(epoch FROM coalesce(${believed}, min(recorded_at) FILTER (WHERE isfinite(recorded_at)))) * 1000000)::bigint AS us
         FROM outbox.event`,
    );
    const us = rows[0]?.us ?? undefined;
    return us === undefined ? undefined : BigInt(us);
  }

  /**
   * The hours of the window. Those of a large table are counted a partition at a time.
   *
   * @param onPart is told how many bytes of the table are counted, and how many it has
   */
  async *buckets(
    window: Window,
    onPart: (done: number, of: number) => void = () => undefined,
    largeBytes = LARGE_TABLE_BYTES,
  ): AsyncGenerator<Bucket[], void, undefined> {
    const parts = await this.#parts();
    const of = parts.reduce((sum, { bytes }) => sum + bytes, 0);
    if (of < largeBytes) {
      yield* this.#hours(window, this.#rows);
      return;
    }
    let done = 0;
    onPart(done, of);
    const { part, dates } = this.#scope;
    const each = parts.map(({ condition }) =>
      this.#hours(window, outboxRows(part === '' ? condition : `(${part}) AND ${condition}`, dates)),
    );
    yield* addedUp(each, (index) => onPart((done += parts[index]!.bytes), of));
  }

  /** How many events of the window meet a condition, whatever the scope. */
  async count(window: Window, condition: string): Promise<number> {
    const { rows } = await this.#db.query<{ n: string }>(
      `SELECT count(*)::text AS n FROM (${outboxRows(condition, this.#scope.dates)}) AS e WHERE us <@ $1::int8range`,
      [int8range(window)],
    );
    return Number(rows[0]!.n);
  }

  #hours(window: Window, rows: string): AsyncGenerator<Bucket[], void, undefined> {
    const events = 'count(*)::text';
    return this.#read<Bucket>(
      `SELECT lpad((${OUTBOX_BUCKET})::text, 8, '0') AS id, ${events} AS events, ${events} || ':' || ${OUTBOX_SUM} AS digest
         FROM (${rows}) AS e WHERE us <@ $1::int8range GROUP BY 1 ORDER BY 1`,
      [int8range(window)],
    );
  }

  /** Its partitions, each by the condition that its rows meet, which the planner chooses partitions by; none where it has none. */
  async #parts(): Promise<{ condition: string; bytes: number }[]> {
    const { rows } = await this.#db.query<{ condition: string; bytes: string }>(
      `SELECT pg_get_partition_constraintdef(inhrelid) AS condition, pg_table_size(inhrelid)::text AS bytes
         FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid WHERE inhparent = 'outbox.event'::regclass AND relispartition`,
    );
    return rows.map(({ condition, bytes }) => ({ condition, bytes: Number(bytes) }));
  }

  /** Ids and digests of the window, as far as it lies in one of the ranges, behind the id `after`. */
  keys(window: Window, ranges: readonly Range[], after: string | undefined): AsyncGenerator<Keyed[], void, undefined> {
    return this.#read<Keyed>(
      `SELECT event_id::text AS id, digest FROM (${this.#rows}) AS e
        WHERE us <@ $1::int8range AND us <@ $2::int8multirange AND ($3::uuid IS NULL OR event_id > $3::uuid) ORDER BY event_id, digest`,
      [int8range(window), `{${ranges.map(int8range).join(',')}}`, after ?? null],
    );
  }

  /** The digests `witnessed` of the rows that meet a condition on the columns of outbox.event, in hex, in their order. */
  async *witnessed(condition: string): AsyncGenerator<string[], void, undefined> {
    const { part, dates } = this.#scope;
    const rows = outboxRows(part === '' ? condition : `(${part}) AND ${condition}`, dates);
    const digests = this.#read<{ w: string }>(
      `SELECT encode(witnessed, 'hex') AS w FROM (${rows}) AS e ORDER BY witnessed`,
      [],
      FETCH_DIGESTS,
    );
    for await (const chunk of digests) yield chunk.map(({ w }) => w);
  }

  /** The same with their ids, in the order of these. */
  identified(condition: string): AsyncGenerator<Keyed[], void, undefined> {
    const { part, dates } = this.#scope;
    const rows = outboxRows(part === '' ? condition : `(${part}) AND ${condition}`, dates);
    return this.#read<Keyed>(
      `SELECT event_id::text AS id, encode(witnessed, 'hex') AS digest FROM (${rows}) AS e ORDER BY event_id, witnessed`,
      [],
      FETCH_DIGESTS,
    );
  }

  /** All rows of these ids, of whatever date. */
  rows(ids: IdList): AsyncGenerator<OutboxRow[], void, undefined> {
    return this.#read<OutboxRow>(
      `SELECT event_id::text AS id, digest, us::text AS us, ${OUTBOX_FIELDS} AS fields,
              CASE WHEN isfinite(recorded_at) THEN (extract(epoch FROM recorded_at) * 1000000)::bigint ELSE 0 END::text AS recorded
         FROM (${this.#rows}) AS e WHERE event_id = ANY($1::uuid[]) ORDER BY event_id, digest, recorded_at`,
      [`{${ids.text}}`],
    );
  }

  /** All events of these ids, whole. */
  async *events(ids: IdList): AsyncGenerator<OutboxEvent[], void, undefined> {
    yield* this.#whole(ids, `<= ${LARGE_BYTES}`, FETCH_EVENTS);
    yield* this.#whole(ids, `> ${LARGE_BYTES}`, 1);
  }

  #whole(ids: IdList, size: string, atOnce: number): AsyncGenerator<OutboxEvent[], void, undefined> {
    return this.#read<OutboxEvent>(
      `SELECT event_id::text AS id, digest, uuid_send(event_id) AS event_id, type AS event_type, timestamptz_send(event_date_time) AS event_date_time,
              environment, context AS event_context, int8send(metadata_version) AS metadata_version, subject, tp AS traceparent,
              timestamptz_send(recorded_at) AS recorded_at, writer AS recorded_by
         FROM (${this.#rows}) AS e WHERE event_id = ANY($1::uuid[]) AND length(context) + length(type) + length(environment) + length(subject) ${size}
        ORDER BY event_id, digest`,
      [`{${ids.text}}`],
      atOnce,
    );
  }

  async *#read<Row extends pg.QueryResultRow>(
    query: string,
    values: unknown[],
    atOnce = FETCH_ROWS,
  ): AsyncGenerator<Row[], void, undefined> {
    const cursor = `compared_${++this.#cursors}`;
    await this.#db.query(`DECLARE ${cursor} NO SCROLL CURSOR FOR ${query}`, values);
    try {
      for (;;) {
        const { rows } = await this.#db.query<Row>(`FETCH ${atOnce} FROM ${cursor}`);
        yield rows;
        if (rows.length < atOnce) return;
      }
    } finally {
      // in a transaction that has failed there is nothing to close
      await this.#db.query(`CLOSE ${cursor}`).catch(() => undefined);
    }
  }
}

async function begin(db: Database): Promise<void> {
  await db.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
}

function int8range({ from, to }: Window | Range): string {
  return `[${from ?? ''},${to ?? ''})`;
}
