/** A number a minute for a week: what neither database keeps a history of. */
const STEP_MS = 60_000;
const KEPT = 7 * 24 * 60;

export interface Sample {
  readonly keptBytes: number | null;
  readonly parts: number | null;
}

/** Samples since the process began; their memory is all taken at the start. */
export class Samples {
  readonly #keptBytes = new Float64Array(KEPT).fill(Number.NaN);
  readonly #parts = new Float64Array(KEPT).fill(Number.NaN);
  #last = -1;

  /** @param atMs since 1970 */
  add(atMs: number, { keptBytes, parts }: Sample): void {
    const minute = Math.floor(atMs / STEP_MS);
    // what was not looked at is not known
    for (let gap = Math.max(this.#last + 1, minute - KEPT + 1); gap < minute; gap++)
      this.#set(gap, Number.NaN, Number.NaN);
    this.#set(minute, keptBytes ?? Number.NaN, parts ?? Number.NaN);
    this.#last = minute;
  }

  #set(minute: number, keptBytes: number, parts: number): void {
    this.#keptBytes[minute % KEPT] = keptBytes;
    this.#parts[minute % KEPT] = parts;
  }

  /** The highest of each step; null where there is none. Times are s since 1970. */
  series(from: number, stepSeconds: number, steps: number): Record<keyof Sample, (number | null)[]> {
    const highest = (values: Float64Array, step: number): number | null => {
      const first = Math.max((from + step * stepSeconds) / 60, this.#last - KEPT + 1);
      let found: number | null = null;
      for (let minute = first; minute < (from + (step + 1) * stepSeconds) / 60 && minute <= this.#last; minute++) {
        const value = values[minute % KEPT]!;
        if (!Number.isNaN(value) && (found === null || value > found)) found = value;
      }
      return found;
    };
    const all = Array.from({ length: steps }, (_, step) => step);
    return {
      keptBytes: all.map((step) => highest(this.#keptBytes, step)),
      parts: all.map((step) => highest(this.#parts, step)),
    };
  }
}
