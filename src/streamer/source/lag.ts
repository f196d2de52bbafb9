import type { Lsn } from '../../lsn.ts';

/** While idle, what others write is acknowledged by the megabyte. */
const IDLE_BYTES = 2 * 1024 * 1024;
/** Of more looks every second one is forgotten, and new ones are taken half as often. */
const MAX_SAMPLES = 1024;

interface Look {
  /** Monotonic, ms. */
  readonly atMs: number;
  readonly confirmedLsn: Lsn;
  readonly walEnd: Lsn;
}

/** How long ago the oldest WAL was written that is not acknowledged, as far back as it was looked at. */
export class AckLag {
  #samples: Look[] = [];
  #everyMs = 0;

  /** ms, to the time between two looks; never more than it is. */
  add(look: Look): number {
    const { atMs, confirmedLsn, walEnd } = look;
    const first =
      walEnd - confirmedLsn < IDLE_BYTES ? -1 : this.#samples.findIndex((past) => past.walEnd > confirmedLsn);
    this.#samples = first === -1 ? [] : this.#samples.slice(first);
    const [oldest = look] = this.#samples;
    const last = this.#samples.at(-1);
    if (last === undefined) this.#everyMs = 0;
    if (walEnd - confirmedLsn >= IDLE_BYTES && atMs - (last?.atMs ?? 0) >= this.#everyMs) this.#samples.push(look);
    if (this.#samples.length > MAX_SAMPLES) {
      this.#samples = this.#samples.filter((_, index) => index % 2 === 0);
      this.#everyMs = Math.max(2 * this.#everyMs, (atMs - oldest.atMs) / MAX_SAMPLES);
    }
    return Math.round(atMs - oldest.atMs);
  }
}
