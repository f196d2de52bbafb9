import type { Database } from '../source/database.ts';
import { isoHour, type Hour } from './manifest.ts';
import type { Entry } from './store.ts';
import type { HourCount, Hours, TableDigests } from './table-digests.ts';

/** What was in quarantine may come when the outbox has long been emptied: those hours are asked for more seldom. */
const OLD_EVERY_MS = 3_600_000;

interface Where {
  readonly db: Database;
  readonly digests: TableDigests;
  /** See partOf. */
  readonly part: string;
  /** The latest part of each hour, see OutboxManifests. */
  readonly latest: ReadonlyMap<Hour, Entry>;
}

/** Which hours of a source want a manifest, by what was seen of them before. */
export class DueHours {
  readonly #source: string;
  /** Hours of which neither side had an event. */
  readonly #empty = new Set<Hour>();
  /** Hours that had other events than their manifest, as they were looked at: with nothing to tell. */
  readonly #seen = new Map<Hour, string>();
  #oldAt = -Infinity;

  constructor(source: string) {
    this.#source = source;
  }

  /** Hours without a manifest, and those that may have got events since it was made, in their order. Throws OUTBOX_PG_*, OUTBOX_CH_*. */
  async list({ db, digests, part, latest }: Where, { from, to }: Hours): Promise<Hour[]> {
    const due: Hour[] = [];
    const there = new Set<Hour>();
    if (performance.now() - this.#oldAt > OLD_EVERY_MS) {
      this.#oldAt = performance.now();
      for (const hour of [...latest.keys()].filter((one) => one < from).toSorted((a, b) => a - b))
        for await (const counts of digests.counts(this.#source, { from: hour, to: hour + 1 }))
          due.push(...counts.filter((count) => this.#hasChanged(count, latest)).map((count) => count.hour));
    }
    const changed = new Set<Hour>();
    for await (const counts of digests.counts(this.#source, { from, to }))
      for (const count of counts) {
        there.add(count.hour);
        if (this.#hasChanged(count, latest)) changed.add(count.hour);
      }
    for (let day = Math.floor(from / 24); day * 24 < to; day++) {
      const hours = hoursOf(day).filter((hour) => hour >= from && hour < to);
      const unknown = hours.filter((hour) => !latest.has(hour) && !there.has(hour) && !this.#empty.has(hour));
      const kept = unknown.length === 0 ? new Set<Hour>() : await hoursKept(db, day, part);
      for (const hour of unknown) if (!kept.has(hour)) this.#empty.add(hour);
      due.push(...hours.filter((hour) => (latest.has(hour) ? changed.has(hour) : there.has(hour) || kept.has(hour))));
    }
    return due;
  }

  /** What could not be settled is looked at again. */
  again(hour: Hour): void {
    this.#seen.delete(hour);
  }

  #hasChanged({ hour, events, lastDeliveredAt }: HourCount, latest: ReadonlyMap<Hour, Entry>): boolean {
    const entry = latest.get(hour);
    if (entry === undefined) return false;
    if (events === entry.events && BigInt(lastDeliveredAt) <= BigInt(entry.lastDeliveredAt)) return false;
    const seen = `${entry.number} ${events} ${lastDeliveredAt}`;
    if (this.#seen.get(hour) === seen) return false;
    this.#seen.set(hour, seen);
    return true;
  }
}

const hoursOf = (day: number): Hour[] => Array.from({ length: 24 }, (_, hour) => day * 24 + hour);

/** The hours of a day of which the outbox has events. */
async function hoursKept(db: Database, day: number, part: string): Promise<Set<Hour>> {
  const { rows } = await db.query<{ hour: number }>(
    `SELECT DISTINCT floor(extract(epoch FROM recorded_at) / 3600)::float8 AS hour FROM outbox.event
      WHERE bucket = ${day % 32} AND recorded_at >= $1 AND recorded_at < $2${part === '' ? '' : ` AND (${part})`}`,
    [isoHour(day * 24), isoHour(day * 24 + 24)],
  );
  return new Set(rows.map(({ hour }) => hour));
}
