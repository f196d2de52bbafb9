import { eventTimeOf } from '../clickhouse/event-time.ts';
import type { ClickHouse } from '../clickhouse/client.ts';
import { unequal } from '../compare/merge.ts';
import { OutboxSnapshot } from '../compare/outbox.ts';
import { partOf, scopeOf } from '../ledger/shares.ts';
import type { Database } from '../source/database.ts';
import type { ErasureRecord } from './erasure-check.ts';
import { type Hour, type Manifest } from './manifest.ts';
import { OutboxManifests } from './store.ts';
import { TableDigests } from './table-digests.ts';
import { among } from './tally.ts';
import { inHour, ofItsDay, oldestHour } from './witness.ts';

/** An event that ClickHouse has not as the outbox has it. */
export interface NamedEvent {
  readonly eventId: string;
  readonly kind: 'altered' | 'missing' | 'added';
}

/** Postgres, where it still can be asked: for its manifests, and for the events of hours that the outbox has. Throws OUTBOX_PG_*. */
export class OutboxWitness {
  readonly #ask: Database;
  readonly #snapshots: Database;
  readonly #clickhouse: ClickHouse;
  readonly #table: string;
  /** Of every source of this outbox, its slot. */
  readonly #slots: ReadonlyMap<string, string>;
  /** Those whose events the table must have. */
  readonly #own: readonly string[];

  private constructor(
    of: { ask: Database; snapshots: Database; clickhouse: ClickHouse; table: string },
    slots: ReadonlyMap<string, string>,
    own: readonly string[],
  ) {
    this.#ask = of.ask;
    this.#snapshots = of.snapshots;
    this.#clickhouse = of.clickhouse;
    this.#table = of.table;
    this.#slots = slots;
    this.#own = own;
  }

  /** @param of.snapshots has SNAPSHOT_PARAMETERS @param slot whose events the table has; of an outbox in shares, all of them without a share */
  static async open(
    of: { ask: Database; snapshots: Database; clickhouse: ClickHouse; table: string },
    slot: string,
  ): Promise<OutboxWitness> {
    const { rows } = await of.ask.query<{ slot: string; source: string }>(
      'SELECT slot_name AS slot, source FROM outbox.stream',
    );
    const { slots } = await scopeOf(of.ask, slot);
    const own = rows.filter((row) => slots.includes(row.slot)).map(({ source }) => source);
    return new OutboxWitness(of, new Map(rows.map((row) => [row.source, row.slot])), own);
  }

  /** Whether it is of this outbox, which then has its manifests. */
  has(source: string): boolean {
    return this.#slots.has(source);
  }

  /** Those of which the table must have the manifests. */
  async sources(): Promise<string[]> {
    const { rows } = await this.#ask.query<{ source: string }>('SELECT DISTINCT source FROM outbox.manifest');
    return rows.map(({ source }) => source).filter((source) => this.#own.includes(source));
  }

  /** Those that have ended. */
  async erasures(): Promise<ErasureRecord[]> {
    const { rows } = await this.#ask.query<ErasureRecord>(
      'SELECT id::text AS id, events::float8 AS events, tombstones FROM outbox.erasure WHERE ended_at IS NOT NULL',
    );
    return rows;
  }

  /** Of a source, in the order of the chain. */
  async *manifests(source: string): AsyncGenerator<Manifest, void, undefined> {
    const manifests = new OutboxManifests(this.#ask, source);
    for (let number = 0; ;) {
      const some = await manifests.after(number);
      if (some.length === 0) return;
      yield* some;
      number = some.at(-1)!.number;
    }
  }

  /**
   * The first events of an hour that differ; undefined where the outbox has none of the hour any more.
   *
   * @param absent digests of those that ClickHouse did not have when the manifest was made
   */
  async named(source: string, hour: Hour, absent: readonly string[], limit: number): Promise<NamedEvent[] | undefined> {
    const slot = this.#slots.get(source);
    if (slot === undefined) return undefined;
    const found = await this.#differing(slot, source, hour, ofItsDay(hour), absent, limit);
    // rows that were put elsewhere by hand are in other partitions
    if (!found.events.some(({ kind }) => kind !== 'missing')) return found.rows === 0 ? undefined : found.events;
    if (hour < (await oldestHour(this.#ask))) return undefined;
    const again = await this.#differing(slot, source, hour, inHour(hour), absent, limit);
    return again.events;
  }

  async #differing(
    slot: string,
    source: string,
    hour: Hour,
    condition: string,
    absent: readonly string[],
    limit: number,
  ): Promise<{ rows: number; events: NamedEvent[] }> {
    const dates = await eventTimeOf(this.#clickhouse, this.#table);
    const digests = await TableDigests.open(this.#clickhouse, this.#table);
    const snapshot = await OutboxSnapshot.take(this.#snapshots, { part: await partOf(this.#ask, slot), dates });
    try {
      let rows = 0;
      const events: NamedEvent[] = [];
      const isAbsent = among(absent);
      const outbox = async function* () {
        for await (const chunk of snapshot.identified(condition)) {
          rows += chunk.length;
          yield chunk;
        }
      };
      const tell = (eventId: string, kind: NamedEvent['kind']): void => {
        if (events.length < limit) events.push({ eventId, kind });
      };
      const table = digests.identified(source, { from: hour, to: hour + 1 });
      for await (const { id, left, copies, right } of unequal(outbox(), table)) {
        const lacking = left.filter(({ row }) => !isAbsent({ witnessed: row.digest })).length;
        const more = copies.length + right.length;
        const altered = Math.min(lacking, right.length);
        for (let n = 0; n < altered; n++) tell(id, 'altered');
        for (let n = altered; n < lacking; n++) tell(id, 'missing');
        for (let n = altered; n < more; n++) tell(id, 'added');
      }
      return { rows, events };
    } finally {
      await snapshot.close().catch(() => undefined);
    }
  }
}
