import { setTimeout as sleep } from 'node:timers/promises';
import { quantile, type Freshness } from './figures.ts';
import type { Warehouse } from './warehouse.ts';

const POLL_MS = 10;

/** How many rows could be queried at a time (ms since 1970). */
export interface Look {
  readonly atMs: number;
  readonly rows: number;
}

/** Rows of one transaction in one insert. The names of the inserts sort in the order in which they were sent. */
export interface Commit {
  readonly insert: string;
  readonly committedUs: number;
  readonly rows: number;
}

/**
 * Counts every few ms how many rows can be queried. The inserts of one streamer become visible one after the other, each all
 * at once. So the first count that includes an insert's last row is when all its events could be queried, at most one poll
 * late. The commit time is that of Postgres, by the same clock.
 */
export class Prober {
  readonly #warehouse: Warehouse;
  readonly #looks: Look[] = [];
  readonly #over = new AbortController();
  readonly #done: Promise<void>;

  constructor(warehouse: Warehouse) {
    this.#warehouse = warehouse;
    this.#done = this.#look();
  }

  get rows(): number {
    return this.#looks.at(-1)?.rows ?? 0;
  }

  /** Stops counting, and returns how long the events took. */
  async end(): Promise<Freshness> {
    this.#over.abort();
    await this.#done;
    const commits = await this.#warehouse.select<Commit>(
      `SELECT toString(delivered_at) AS insert, toUnixTimestamp64Micro(committed_at) AS committedUs, count() AS rows
         FROM events GROUP BY ALL`,
    );
    const ages = agesOf(this.#looks, commits);
    return { p50: quantile(ages, 0.5), p99: quantile(ages, 0.99), max: ages.at(-1)! };
  }

  async #look(): Promise<void> {
    while (!this.#over.signal.aborted) {
      const rows = await this.#warehouse.count();
      if (rows !== this.rows) this.#looks.push({ atMs: Date.now(), rows });
      await sleep(POLL_MS);
    }
  }
}

/** For each row, the ms from its commit to the first count that includes it; ascending. */
export function agesOf(looks: readonly Look[], commits: readonly Commit[]): number[] {
  const inserts = Map.groupBy(commits, ({ insert }) => insert);
  const ages: number[] = [];
  for (const insert of [...inserts.keys()].toSorted()) {
    const own = inserts.get(insert)!;
    const there = ages.length + own.reduce((sum, { rows }) => sum + rows, 0);
    const seen = looks.find(({ rows }) => rows >= there);
    if (seen === undefined) throw new Error('an insert was never seen');
    for (const { committedUs, rows } of own) {
      for (let row = 0; row < rows; row++) ages.push(seen.atMs - committedUs / 1000);
    }
  }
  return ages.toSorted((a, b) => a - b);
}
