import type { Lsn } from '../../lsn.ts';

/** What a stream that stands still for days may keep. */
const MAX_SAMPLES = 1000;

interface Sample {
  readonly end: Lsn;
  readonly atSeconds: number;
}

/**
 * Since when there is WAL that was not read, by samples of where WAL ended. A walsender that sends nothing (it waits for a
 * standby, or decodes a long transaction) leaves no event whose age could tell that events are late.
 */
export class UnreadWal {
  #samples: Sample[] = [];

  /** @param atSeconds since 1970, when WAL was written up to `end` */
  sample(end: Lsn, atSeconds: number): void {
    const last = this.#samples.at(-1);
    if (last !== undefined && end <= last.end) return;
    if (this.#samples.length === MAX_SAMPLES) this.#samples = this.#samples.filter((_, index) => index % 2 === 0);
    this.#samples.push({ end, atSeconds });
  }

  /** Seconds since 1970 when the first of what was not read had been written; undefined when all is read. */
  since(readTo: Lsn): number | undefined {
    const first = this.#samples.findIndex(({ end }) => end > readTo);
    this.#samples.splice(0, first === -1 ? this.#samples.length : first);
    return this.#samples[0]?.atSeconds;
  }
}
