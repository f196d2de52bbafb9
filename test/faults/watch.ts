import { setTimeout as sleep } from 'node:timers/promises';
import { parseLsn } from '../../src/lsn.ts';
import { DOOMED } from './contexts.ts';
import type { World } from './world.ts';

const SAMPLE_MS = 250;
const COUNT_MS = 1000;

/** What was acknowledged at a moment, and what the ledger held as delivered a little later. */
interface Sample {
  readonly confirmed: number;
  readonly deliveredLsn: number;
  readonly deliveredSeq: number;
}

export interface Position {
  readonly lsn: number;
  readonly seq: number;
}

/** Looks at both databases while the faults are injected. */
export class Watch {
  readonly #world: World;
  readonly #running: Promise<unknown>;
  readonly #samples: Sample[] = [];
  #stopped = false;
  /** Rows in ClickHouse at the last look. */
  rows = 0;
  looks = 0;

  constructor(world: World) {
    this.#world = world;
    this.#running = Promise.all([
      this.#every(SAMPLE_MS, async () => this.#sample()),
      this.#every(COUNT_MS, async () => this.#count()),
    ]);
  }

  get samples(): number {
    return this.#samples.length;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running;
  }

  /**
   * No event was acknowledged before it was settled (invariant 2). That can be told only now, when it is known where the
   * events stand: `positions` are those of all of them, in order.
   */
  check(positions: readonly Position[]): void {
    for (const { confirmed, deliveredLsn, deliveredSeq } of this.#samples) {
      const next = firstAfter(positions, deliveredLsn, deliveredSeq);
      if (next !== undefined && next.lsn < confirmed) {
        this.#world.journal.violate(
          `acknowledged up to ${confirmed} with an event at ${next.lsn}:${next.seq}, delivered up to ${deliveredLsn}:${deliveredSeq}`,
        );
        return;
      }
    }
  }

  async #every(ms: number, look: () => Promise<void>): Promise<void> {
    while (!this.#stopped) {
      const began = performance.now();
      // a database is away, or answers too late
      await look().catch(() => undefined);
      // a small part of the time, however much there is to look at
      await sleep(Math.max(ms, 10 * (performance.now() - began)));
    }
  }

  async #sample(): Promise<void> {
    // in this order: what is delivered only grows
    const confirmed = parseLsn(await this.#world.confirmedLsn());
    const { delivered_lsn: lsn, delivered_seq: seq } = await this.#world.ledger();
    this.#samples.push({ confirmed, deliveredLsn: parseLsn(lsn), deliveredSeq: Number(seq) });
  }

  async #count(): Promise<void> {
    // behind it the second half of a batch may be there before the first
    const { delivered_lsn: delivered } = await this.#world.ledger();
    const [counts] = await this.#world.select<{ rows: number; events: number; doomed: number; torn: number }>(
      `SELECT sum(n) AS rows, sum(ids) AS events, sum(undone) AS doomed, countIf(n != last AND lsn < ${parseLsn(delivered)}) AS torn FROM (
         SELECT lsn, count() AS n, uniqExact(event_id) AS ids, countIf(environment = '${DOOMED}') AS undone, max(seq) AS last
           FROM events WHERE source != '' GROUP BY lsn)`,
      2000,
    );
    const { rows, events, doomed, torn } = counts!;
    this.rows = rows;
    this.looks++;
    for (const host of [this.#world.main, this.#world.spare]) host.judge();
    if (events !== rows) this.#violateOnce(`${rows - events} of ${rows} rows are doubles`);
    if (torn > 0) this.#violateOnce(`${torn} transactions have a gap`);
    if (doomed > 0) this.#violateOnce(`${doomed} rows were rolled back`);
  }

  #violateOnce(text: string): void {
    if (this.#world.journal.violations.length === 0) this.#world.journal.violate(text);
  }
}

/** By bisection. */
function firstAfter(positions: readonly Position[], lsn: number, seq: number): Position | undefined {
  let [low, high] = [0, positions.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    const at = positions[middle]!;
    if (at.lsn < lsn || (at.lsn === lsn && at.seq <= seq)) low = middle + 1;
    else high = middle;
  }
  return positions[low];
}
