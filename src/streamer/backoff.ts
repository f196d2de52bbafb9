export interface Backoff {
  /** The next pause, in whole milliseconds. Grows with every call. */
  next(): number;
  /** Begins again at the base, after a success. */
  reset(): void;
}

export interface BackoffOptions {
  /** The upper end of the first pause, in milliseconds. */
  baseMs: number;
  /** The upper end of every pause, in milliseconds; wins over a larger base. */
  maxMs: number;
  /** A number from 0 inclusive to 1 exclusive. */
  random?: () => number;
}

/**
 * Capped exponential backoff with full jitter: each pause is drawn evenly from half the base up to a ceiling that
 * doubles at every attempt until `maxMs`. The draw keeps many streamers from returning to a recovering server at the
 * same moment; the lower end keeps a lucky draw from becoming a busy loop.
 *
 * @throws {RangeError} when `baseMs` or `maxMs` is not a whole number of at least 1.
 */
export function createBackoff({ baseMs, maxMs, random = Math.random }: BackoffOptions): Backoff {
  if (!Number.isSafeInteger(baseMs) || !Number.isSafeInteger(maxMs) || baseMs < 1 || maxMs < 1)
    throw new RangeError('baseMs and maxMs must be whole milliseconds from 1');
  const first = Math.min(baseMs, maxMs);
  const lowest = first / 2;
  let ceiling = first;
  return {
    next() {
      const pause = Math.ceil(lowest + random() * (ceiling - lowest));
      ceiling = Math.min(maxMs, ceiling * 2);
      return pause;
    },
    reset() {
      ceiling = first;
    },
  };
}
