import type { Lsn } from '../../lsn.ts';
import { LAST_US } from '../clickhouse/event-time.ts';
import type { Database } from '../source/database.ts';
import { classify, type Difference, type Rejected } from './classify.ts';
import { outboxOf } from '../share.ts';
import { untilDelivered } from '../ledger/delivered.ts';
import { IdList } from './id-list.ts';
import { mistypedRows } from './mistyped.ts';
import { unequal } from './merge.ts';
import type { Bucket } from './hours.ts';
import { OutboxSnapshot } from './outbox.ts';
import { TableView, type TableOptions, type TypedRow } from './table.ts';
import { typingOf } from './typing.ts';
import { Ranges, type Range, type Window } from './window.ts';

/** Ids that are held in memory, and looked at once more together. */
const MAX_SUSPECTS = 100_000;
/**
 * Retention goes by the time a transaction began, ClickHouse has the time it committed. Where earlier rows are gone,
 * those committed shortly after the oldest one that is left may have begun among them.
 */
const LONG_TRANSACTION_US = 3_600_000_000n;

export interface ComparisonOptions extends TableOptions {
  /** Those that deliver it. */
  readonly slots: readonly string[];
  /** What of outbox.event they deliver, see partOf. */
  readonly part: string;
  /** What of it other slots deliver, and is only counted, see Scope. */
  readonly formers: string;
  readonly window: Window;
  /** How long the streamer may take to deliver what a snapshot shows, in ms; 0 compares whatever is there. */
  readonly waitMs: number;
  /** Connections with SNAPSHOT_PARAMETERS: of the snapshot, and for a second look; without one, the first look counts. */
  readonly first: Database;
  readonly second: Database | undefined;
  /** A connection for questions. */
  readonly ask: Database;
  readonly onProgress?: (progress: Progress) => void;
}

export type Progress =
  | { readonly step: 'waiting for delivery'; readonly atMostMs: number }
  | { readonly step: 'comparing types' }
  /** Bytes of the table, where it is large. */
  | { readonly step: 'counting'; readonly done?: number; readonly of?: number }
  /** Of the events of hours that differ, those of which it is known whether they do. */
  | { readonly step: 'comparing' | 'comparing again'; readonly done: number; readonly of: number };

/** What is known once all differences have been told. */
export interface Totals {
  /** Events of the window in Postgres, and rows of it in ClickHouse, expired ones included. */
  postgres: number;
  clickhouse: number;
  /** Rows of the window that the outbox no longer has, beside those told as differences. */
  expired: number;
  /** Ids that seemed to differ, and at a second look did not: what was committed meanwhile. */
  cleared: number;
  /** Rows of ClickHouse that were not looked at: another source's, and what was delivered behind the snapshot. */
  ofOthers: number;
  behind: number;
  /** Events of the window in Postgres that were not looked at: other slots deliver them, before or after `reshard`. */
  ofFormers: number;
}

/**
 * Compares outbox.event with what ClickHouse has of it: first the number and the sum of the digests of each hour; then,
 * in hours that differ, event by event; then, with a new snapshot, the events that differ once more. Memory does not grow
 * with the number of events or differences, but with those of one id, which are bounded.
 *
 * The caller takes the snapshot, waits until all of it is delivered, and ends it afterwards.
 */
export class Comparison {
  readonly #options: ComparisonOptions;
  readonly #snapshot: OutboxSnapshot;
  readonly totals: Totals = {
    postgres: 0,
    clickhouse: 0,
    expired: 0,
    cleared: 0,
    ofOthers: 0,
    behind: 0,
    ofFormers: 0,
  };

  constructor(options: ComparisonOptions, snapshot: OutboxSnapshot) {
    this.#options = options;
    this.#snapshot = snapshot;
  }

  /** All differences, by id; an id may have several. Throws OUTBOX_PG_*, OUTBOX_CH_*, OUTBOX_VERIFY_*. */
  async *differences(): AsyncGenerator<Difference, void, undefined> {
    const { window, formers } = this.#options;
    this.#progress({ step: 'counting' });
    const oldest = await this.#snapshot.oldest();
    if (formers !== '') this.totals.ofFormers = await this.#snapshot.count(window, formers);
    const table = await TableView.open(this.#options, this.#snapshot.horizon);
    const gone = await table.committedBefore(window, oldest ?? LAST_US);
    Object.assign(this.totals, await table.leftOut(window));
    this.totals.expired = gone.inWindow;
    this.totals.clickhouse = gone.inWindow;
    if (oldest === undefined) return;

    const expiredBefore = gone.any ? oldest + LONG_TRANSACTION_US : oldest;
    const { ranges, events } = await this.#unequalHours(table, oldest);
    let read = 0;
    const watch = (rows: readonly unknown[]): void => {
      read += rows.length;
      this.#progress({ step: 'comparing', done: known(suspects.size), of: events });
    };
    // what ClickHouse alone has is a suspect too, and was not read; hours between those that differ may be read as well
    const known = (doubtful: number): number => Math.min(events, Math.max(0, read - doubtful));
    const suspects = new IdList(MAX_SUSPECTS);
    let after: string | undefined;
    let isMore = ranges.length > 0;
    while (isMore) {
      suspects.clear();
      const left = seen(this.#snapshot.keys(window, ranges, after), watch);
      for await (const { id } of unequal(left, table.keys(window, oldest, ranges, after))) {
        suspects.add(id);
        if (suspects.isFull) break;
      }
      const tell = (compared: number): void =>
        this.#progress({ step: 'comparing again', done: known(suspects.size - compared), of: events });
      if (suspects.size > 0) yield* this.#again(suspects, expiredBefore, tell);
      isMore = suspects.isFull;
      after = suspects.last;
    }
  }

  /**
   * Rows of the same events whose typed column is not what the table's DEFAULT gives; undefined where the table has none to compare.
   * ClickHouse compares: only those rows come here. Throws OUTBOX_CH_*, OUTBOX_PG_*.
   */
  async mistyped(): Promise<AsyncGenerator<TypedRow, void, undefined> | undefined> {
    const { clickhouse, table, window } = this.#options;
    const typing = await typingOf(clickhouse, table);
    const oldest = await this.#snapshot.oldest();
    if (typing === undefined || oldest === undefined) return undefined;
    this.#progress({ step: 'comparing types' });
    return mistypedRows(await TableView.open(this.#options, this.#snapshot.horizon), typing, window, oldest);
  }

  async #unequalHours(table: TableView, oldest: bigint): Promise<{ ranges: Range[]; events: number }> {
    const { window } = this.#options;
    const { totals } = this;
    const ranges = new Ranges();
    let events = 0;
    const sum = (side: 'postgres' | 'clickhouse') => (buckets: readonly Bucket[]) => {
      for (const bucket of buckets) totals[side] += Number(bucket.events);
    };
    const hours = unequal(
      seen(
        this.#snapshot.buckets(window, (done, of) => this.#progress({ step: 'counting', done, of })),
        sum('postgres'),
      ),
      seen(table.buckets(window, oldest), sum('clickhouse')),
    );
    for await (const { id, left } of hours) {
      ranges.add(Number(id));
      events += Number(left[0]?.row.events ?? 0);
    }
    return { ranges: ranges.list(), events };
  }

  /** The same for a number of ids, with a snapshot of now: what was committed while we looked is there on both sides. */
  async *#again(
    ids: IdList,
    expiredBefore: bigint,
    tell: (compared: number) => void,
  ): AsyncGenerator<Difference, void, undefined> {
    const { second, ask, slots, isWhole = false, part, dates } = this.#options;
    tell(0);
    const snapshot = second === undefined ? this.#snapshot : await OutboxSnapshot.take(second, { part, dates });
    try {
      if (second !== undefined) await delivered(this.#options, snapshot);
      // after the wait: all that was rejected is in quarantine by now; before ClickHouse is read: what is taken up again is found there
      const rejected = await rejectedOf(ask, { slots, isWhole }, ids);
      const table = await TableView.open(this.#options, snapshot.horizon);
      let unlike = 0;
      for await (const rows of unequal(snapshot.rows(ids), table.rows(ids))) {
        tell(++unlike);
        yield* classify(rows, rejected.get(rows.id) ?? NONE, expiredBefore);
      }
      this.totals.cleared += ids.size - unlike;
    } finally {
      if (second !== undefined) await snapshot.close();
    }
  }

  #progress(progress: Progress): void {
    this.#options.onProgress?.(progress);
  }
}

async function* seen<Row>(
  chunks: AsyncIterable<Row[]>,
  see: (rows: readonly Row[]) => void,
): AsyncGenerator<Row[], void, undefined> {
  for await (const rows of chunks) {
    see(rows);
    yield rows;
  }
}

const NONE: Rejected = { quarantined: 0, discarded: 0 };

/** What of these ids these slots have in quarantine, or discarded; older schemas have no quarantine. */
async function rejectedOf(
  db: Database,
  { slots, isWhole }: Pick<ComparisonOptions, 'slots' | 'isWhole'>,
  ids: IdList,
): Promise<Map<string, Rejected>> {
  const known = await db.query<{ yes: boolean }>("SELECT to_regclass('outbox.quarantine') IS NOT NULL AS yes");
  if (known.rows[0]?.yes !== true) return new Map();
  const { rows } = await db.query<{ id: string; quarantined: number; discarded: number }>(
    `SELECT event_id::text AS id, count(*) FILTER (WHERE discarded_at IS NULL)::int AS quarantined,
            count(*) FILTER (WHERE discarded_at IS NOT NULL)::int AS discarded
       FROM outbox.quarantine WHERE (slot_name = ANY($1) OR slot_name ~ $3) AND event_id = ANY($2::uuid[]) GROUP BY event_id`,
    // of a whole outbox, shares of earlier times have discarded some
    [slots, `{${ids.text}}`, isWhole === true ? `^${outboxOf(slots[0]!)}(_[0-9]+_of_[0-9]+)?$` : '^$'],
  );
  return new Map(rows.map((row) => [row.id, row]));
}

/** Takes a snapshot, and waits until the streamer has delivered all that it shows. */
export async function deliveredSnapshot(
  options: Waiting & Pick<ComparisonOptions, 'first' | 'part' | 'dates'>,
): Promise<{ snapshot: OutboxSnapshot; reached: Lsn }> {
  const snapshot = await OutboxSnapshot.take(options.first, options);
  return { snapshot, reached: await delivered(options, snapshot) };
}

type Waiting = Pick<ComparisonOptions, 'ask' | 'slots' | 'waitMs' | 'onProgress'>;

/** How far the slowest of the slots is. */
async function delivered({ ask, slots, waitMs, onProgress }: Waiting, { horizon }: OutboxSnapshot): Promise<Lsn> {
  const onWait = (): void => onProgress?.({ step: 'waiting for delivery', atMostMs: waitMs });
  let reached = Infinity;
  for (const slot of slots) reached = Math.min(reached, await untilDelivered(ask, slot, horizon.lsn, waitMs, onWait));
  return reached;
}
