import type { ClickHouse } from '../clickhouse/client.ts';
import { whereCurrent } from '../clickhouse/current.ts';
import { TABLE_DELIVERED, TABLE_RECORDED, TABLE_WITNESSED } from '../compare/digest.ts';
import type { IdList } from '../compare/id-list.ts';
import type { Keyed } from '../compare/merge.ts';
import { mistypedRows } from '../compare/mistyped.ts';
import { among, TYPED_ROW, type TypedRow } from '../compare/table.ts';
import { typingOf } from '../compare/typing.ts';
import { ALL } from '../compare/window.ts';
import { HOUR_US, type Hour } from './manifest.ts';
import type { EventDigests } from './tally.ts';

/** Hours, from inclusive to exclusive. */
export interface Hours {
  readonly from: Hour;
  readonly to: Hour;
}

export interface HourlyDigests extends EventDigests {
  readonly hour: Hour;
}

/** How many events an hour has now. */
export interface HourCount {
  readonly hour: Hour;
  readonly events: number;
  /** µs since 1970. */
  readonly lastDeliveredAt: string;
}

interface Row {
  hour: string;
  w: string;
  d: string;
  lsn: string;
  at: string;
  kind: number;
}

const WHERE_HOURS =
  'source = {source:String} AND recorded_at >= {from:DateTime64(6)} AND recorded_at < {to:DateTime64(6)}';

/** The events of one source in ClickHouse's table, and what erasures have left of others, by their digests. Throws OUTBOX_CH_*. */
export class TableDigests {
  readonly #clickhouse: ClickHouse;
  readonly #table: string;
  readonly #hasErased: boolean;

  private constructor(clickhouse: ClickHouse, table: string, hasErased: boolean) {
    this.#clickhouse = clickhouse;
    this.#table = table;
    this.#hasErased = hasErased;
  }

  static async open(clickhouse: ClickHouse, table: string): Promise<TableDigests> {
    const found = await clickhouse.select(
      'SELECT name FROM system.tables WHERE database = currentDatabase() AND name = {erased:String}',
      { erased: `${table}_erased` },
    );
    return new TableDigests(clickhouse, table, found.length > 0);
  }

  /** Ordered by (hour, witnessed, delivered). ClickHouse sorts on its disk what is large. */
  async *of(source: string, hours: Hours): AsyncGenerator<HourlyDigests[], void, undefined> {
    const current = await whereCurrent(this.#clickhouse, this.#table);
    const erased = `UNION ALL
      SELECT toInt64(toUnixTimestamp(hour)) AS h, witnessed, delivered, 0 AS lsn, 0 AS at, 2 AS kind
        FROM {erased:Identifier} WHERE source = {source:String} AND hour >= {from:DateTime64(6)} AND hour < {to:DateTime64(6)}`;
    const rows = this.#clickhouse.stream<Row>(
      `SELECT toString(intDiv(h, 3600)) AS hour, lower(hex(witnessed)) AS w, lower(hex(delivered)) AS d, toString(lsn) AS lsn,
              toString(at) AS at, toUInt8(kind) AS kind
         FROM (
           SELECT toInt64(intDiv(${TABLE_RECORDED}, 1000000)) AS h, ${TABLE_WITNESSED} AS witnessed, ${TABLE_DELIVERED} AS delivered, lsn,
                  toUnixTimestamp64Micro(toDateTime64(delivered_at, 6, 'UTC')) AS at, if(origin = 'repair', 1, 0) AS kind
             FROM {table:Identifier} WHERE ${current} AND ${WHERE_HOURS}
           ${this.#hasErased ? erased : ''})
        ORDER BY intDiv(h, 3600), witnessed, delivered, kind`,
      this.#parameters(source, hours),
    );
    let last: Row | undefined;
    // a tombstone is written before its event is removed, and perhaps twice
    const isStill = (row: Row): boolean => {
      const is = row.kind === 2 && row.hour === last?.hour && row.w === last.w && row.d === last.d;
      last = row;
      return is;
    };
    for await (const chunk of rows)
      yield chunk
        .filter((row) => !isStill(row))
        .map(({ hour, w, d, lsn, at, kind }) => ({
          hour: Number(hour),
          witnessed: w,
          delivered: d,
          lsn,
          deliveredAt: at,
          isRepaired: kind === 1,
          isErased: kind === 2,
        }));
  }

  /** The events that are still there, by their ids and digests `witnessed`, in this order. */
  async *identified(source: string, hours: Hours): AsyncGenerator<Keyed[], void, undefined> {
    const current = await whereCurrent(this.#clickhouse, this.#table);
    yield* this.#clickhouse.stream<Keyed>(
      `SELECT toString(event_id) AS id, lower(hex(${TABLE_WITNESSED})) AS digest FROM {table:Identifier}
        WHERE ${current} AND ${WHERE_HOURS} ORDER BY id, digest`,
      this.#parameters(source, hours),
    );
  }

  /** Events whose typed column is not what their text gives; undefined where the table has none to compare. */
  async mistyped(source: string, hours: Hours): Promise<AsyncGenerator<TypedRow, void, undefined> | undefined> {
    const typing = await typingOf(this.#clickhouse, this.#table);
    if (typing === undefined) return undefined;
    const current = await whereCurrent(this.#clickhouse, this.#table);
    const of = (differs: string): AsyncGenerator<TypedRow[], void, undefined> =>
      this.#clickhouse.stream<TypedRow>(
        `SELECT ${TYPED_ROW} FROM {table:Identifier} WHERE ${current} AND ${WHERE_HOURS} AND ${differs}`,
        this.#parameters(source, hours),
      );
    const rows = {
      mistyped: () => of(typing.differs),
      mistypedAnyhow: (_: unknown, ids: IdList) => of(`${among(ids)} AND ${typing.differsFromFilled}`),
    };
    return mistypedRows(rows, typing, ALL, 0n);
  }

  /** How many events lie before and behind these hours. */
  async outside(source: string, hours: Hours): Promise<{ before: number; behind: number }> {
    const current = await whereCurrent(this.#clickhouse, this.#table);
    const found = { before: 0, behind: 0 };
    const rows = this.#clickhouse.stream<{ before: string; behind: string }>(
      `SELECT toString(countIf(recorded_at < {from:DateTime64(6)})) AS before, toString(countIf(recorded_at >= {to:DateTime64(6)})) AS behind
         FROM {table:Identifier} WHERE ${current} AND source = {source:String}`,
      this.#parameters(source, hours),
    );
    for await (const chunk of rows)
      for (const { before, behind } of chunk) [found.before, found.behind] = [Number(before), Number(behind)];
    return found;
  }

  /** The hours that have events, in their order; those that were erased count. */
  async *counts(source: string, hours: Hours): AsyncGenerator<HourCount[], void, undefined> {
    const current = await whereCurrent(this.#clickhouse, this.#table);
    const erased = `UNION ALL
      SELECT toInt64(toUnixTimestamp(hour)) AS h, 0 AS at
        FROM {erased:Identifier} WHERE source = {source:String} AND hour >= {from:DateTime64(6)} AND hour < {to:DateTime64(6)}`;
    const rows = this.#clickhouse.stream<{ hour: string; events: string; last: string }>(
      `SELECT toString(intDiv(h, 3600)) AS hour, toString(count()) AS events, toString(max(at)) AS last
         FROM (
           SELECT toInt64(intDiv(${TABLE_RECORDED}, 1000000)) AS h, toUnixTimestamp64Micro(toDateTime64(delivered_at, 6, 'UTC')) AS at
             FROM {table:Identifier} WHERE ${current} AND ${WHERE_HOURS}
           ${this.#hasErased ? erased : ''})
        GROUP BY intDiv(h, 3600) AS hours ORDER BY hours`,
      this.#parameters(source, hours),
    );
    for await (const chunk of rows)
      yield chunk.map(({ hour, events, last }) => ({
        hour: Number(hour),
        events: Number(events),
        lastDeliveredAt: last,
      }));
  }

  #parameters(source: string, { from, to }: Hours): Record<string, string> {
    return { table: this.#table, erased: `${this.#table}_erased`, source, from: timeOf(from), to: timeOf(to) };
  }
}

/** As a parameter of ClickHouse: seconds since 1970. */
function timeOf(hour: Hour): string {
  return String((BigInt(hour) * HOUR_US) / 1_000_000n);
}
