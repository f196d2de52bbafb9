import type { Lsn } from '../../lsn.ts';
import type { ClickHouse } from '../clickhouse/client.ts';
import { whereCurrent } from '../clickhouse/current.ts';
import type { EventTime } from '../clickhouse/event-time.ts';
import { TABLE_BUCKET, TABLE_DIGEST, TABLE_FIELDS, TABLE_SUM, TABLE_US } from './digest.ts';
import type { IdList } from './id-list.ts';
import type { Keyed } from './merge.ts';
import type { Bucket } from './hours.ts';
import type { Horizon } from './outbox.ts';
import type { Typing } from './typing.ts';
import type { Range, Window } from './window.ts';

/** What a row's position says is believed, unless its time of commit says otherwise by more than this. */
const CLOCK_MARGIN_US = 60_000_000n;

/** A row of ClickHouse's table. Times are µs since 1970. */
export interface TableRow extends Keyed {
  readonly us: string;
  /** A decimal number, and the event's own in its transaction. */
  readonly atLsn: string;
  readonly atSeq: number;
  readonly committed: string;
  readonly fields: string;
}

/** A row whose typed column is looked at. */
export type TypedRow = Pick<TableRow, 'id' | 'us' | 'atLsn' | 'atSeq' | 'committed'>;

const PLACE = `toString(${TABLE_US}) AS us, toString(lsn) AS atLsn, seq AS atSeq, toString(toUnixTimestamp64Micro(committed_at)) AS committed`;
/** The columns of a TypedRow. */
export const TYPED_ROW = `toString(event_id) AS id, ${PLACE}`;

export interface TableOptions {
  readonly clickhouse: ClickHouse;
  readonly table: string;
  /** One table may be shared by many databases. */
  readonly source: string;
  /** What the table holds of a date. */
  readonly dates: EventTime;
  /** Rows before it are of an earlier time, when the slot delivered what another share does now. */
  readonly since?: Lsn;
  /** The table has all shares, whose sources are called like `source` with more behind it. */
  readonly isWhole?: boolean;
  /** What was delivered until then has positions of another server; ms since 1970, see KnownAs. */
  readonly movedAtMs: number;
}

/**
 * What a source has delivered into ClickHouse's table, up to a horizon. A row behind it that was committed before it
 * belongs to another timeline, whose positions mean other events; it is seen. Throws OUTBOX_CH_*.
 */
export class TableView {
  readonly #options: TableOptions;
  readonly #horizon: Horizon;
  readonly #current: string;

  private constructor(options: TableOptions, horizon: Horizon, current: string) {
    this.#options = options;
    this.#horizon = horizon;
    this.#current = current;
  }

  /** Waits for a replica that has all that was taken before. */
  static async open(options: TableOptions, horizon: Horizon): Promise<TableView> {
    return new TableView(options, horizon, await whereCurrent(options.clickhouse, options.table));
  }

  /** The hours of the window; rows committed before `since` are left out. */
  buckets(window: Window, since: bigint): AsyncGenerator<Bucket[], void, undefined> {
    return this.#stream<Bucket>(
      `SELECT leftPad(toString(${TABLE_BUCKET}), 8, '0') AS id, toString(count()) AS events,
              concat(toString(count()), ':', toString(${TABLE_SUM})) AS digest
         FROM {table:Identifier} WHERE ${this.#inView} AND ${this.#between(window)} AND committed_at >= ${time(since)}
        GROUP BY id ORDER BY id`,
    );
  }

  /** Ids and digests of the window, as far as it lies in one of the ranges, behind the id `after`. */
  keys(
    window: Window,
    since: bigint,
    ranges: readonly Range[],
    after: string | undefined,
  ): AsyncGenerator<Keyed[], void, undefined> {
    return this.#stream<Keyed>(
      `SELECT toString(event_id) AS id, lower(hex(${TABLE_DIGEST})) AS digest FROM {table:Identifier}
        WHERE ${this.#inView} AND ${this.#between(window)} AND committed_at >= ${time(since)}
          AND (${ranges.map((range) => this.#between(range)).join(' OR ')}) AND toString(event_id) > {after:String}
        ORDER BY id, digest`,
      { after: after ?? '' },
    );
  }

  /** All rows of these ids, of whatever date. */
  rows(ids: IdList): AsyncGenerator<TableRow[], void, undefined> {
    return this.#stream<TableRow>(
      `SELECT toString(event_id) AS id, lower(hex(${TABLE_DIGEST})) AS digest, ${PLACE}, ${TABLE_FIELDS} AS fields
         FROM {table:Identifier}
        WHERE ${this.#inView} AND ${among(ids)}
        ORDER BY id, digest, lsn, seq`,
    );
  }

  /** Rows of these ids that are not in view: other sources', and those behind the horizon. */
  outOfView(ids: IdList): AsyncGenerator<(Keyed & { of: string })[], void, undefined> {
    return this.#stream<Keyed & { of: string }>(
      `SELECT source AS of, toString(event_id) AS id, lower(hex(${TABLE_DIGEST})) AS digest FROM {table:Identifier}
        WHERE ${this.#current} AND NOT (${this.#isInView}) AND ${among(ids)}`,
    );
  }

  /** Rows of the window, committed since a time, whose typed column differs. Without an order: as many as they are, none is held. */
  mistyped({ differs }: Typing, window: Window, since: bigint): AsyncGenerator<TypedRow[], void, undefined> {
    return this.#stream<TypedRow>(
      `SELECT ${TYPED_ROW} FROM {table:Identifier}
        WHERE ${this.#inView} AND ${this.#between(window)} AND committed_at >= ${time(since)} AND ${differs}`,
    );
  }

  /** Those of them that differ from what ClickHouse itself fills in, too. */
  mistypedAnyhow({ differsFromFilled }: Typing, ids: IdList): AsyncGenerator<TypedRow[], void, undefined> {
    return this.#stream<TypedRow>(
      `SELECT ${TYPED_ROW} FROM {table:Identifier}
        WHERE ${this.#inView} AND ${among(ids)} AND ${differsFromFilled}`,
    );
  }

  /** How many rows of the window were committed before a time, and whether there are such rows at all. */
  async committedBefore(window: Window, us: bigint): Promise<{ inWindow: number; any: boolean }> {
    let [inWindow, all] = [0, 0];
    const counts = this.#stream<{ window: string; total: string }>(
      `SELECT toString(countIf(${this.#between(window)})) AS window, toString(count()) AS total FROM {table:Identifier}
        WHERE ${this.#inView} AND committed_at < ${time(us)}`,
    );
    for await (const rows of counts)
      for (const row of rows) [inWindow, all] = [inWindow + Number(row.window), all + Number(row.total)];
    return { inWindow, any: all > 0 };
  }

  /** How many rows of the window are not looked at: another source's, and those behind the horizon. */
  async leftOut(window: Window): Promise<{ ofOthers: number; behind: number }> {
    const left = { ofOthers: 0, behind: 0 };
    const counts = this.#stream<{ others: string; behind: string }>(
      `SELECT toString(countIf(NOT (${this.#isOfSource}))) AS others,
              toString(countIf(${this.#isOfSource} AND NOT (${this.#isInView}))) AS behind
         FROM {table:Identifier} WHERE ${this.#current} AND ${this.#between(window)}`,
    );
    for await (const rows of counts)
      for (const row of rows) {
        left.ofOthers += Number(row.others);
        left.behind += Number(row.behind);
      }
    return left;
  }

  get #inView(): string {
    return `${this.#current} AND ${this.#isInView}`;
  }

  get #isInView(): string {
    const { lsn, us } = this.#horizon;
    const moved = time(BigInt(this.#options.movedAtMs) * 1000n);
    return `${this.#isOfSource} AND (lsn < ${lsn} OR committed_at < ${time(us - CLOCK_MARGIN_US)} OR least(committed_at, delivered_at) <= ${moved})`;
  }

  get #isOfSource(): string {
    const { isWhole, since = 0 } = this.#options;
    return isWhole === true
      ? `match(source, concat('^', {source:String}, '(_[0-9]+_of_[0-9]+)?$'))`
      : `source = {source:String}${since === 0 ? '' : ` AND lsn >= ${since}`}`;
  }

  #between(span: Window | Range): string {
    return between(span, this.#options.dates);
  }

  #stream<Row>(query: string, parameters: Record<string, unknown> = {}): AsyncGenerator<Row[], void, undefined> {
    const { clickhouse, table, source } = this.#options;
    return clickhouse.stream<Row>(query, { table, source, ...parameters });
  }
}

/** The rows of these ids, as a condition. */
export function among(ids: IdList): string {
  return `event_id IN (SELECT toUUID(arrayJoin(splitByChar(',', '${ids.text}'))))`;
}

/** As conditions on the column itself, which the primary key can use. What the column cannot hold cannot be compared with it. */
function between({ from, to }: Window | Range, { last }: EventTime): string {
  const conditions: string[] = [];
  if (from !== undefined) conditions.push(from <= last ? `event_date_time >= ${time(from)}` : 'false');
  if (to !== undefined && to <= last) conditions.push(`event_date_time < ${time(to)}`);
  return conditions.length === 0 ? 'true' : `(${conditions.join(' AND ')})`;
}

function time(us: bigint): string {
  return `fromUnixTimestamp64Micro(${us}, 'UTC')`;
}
