import type { SlotHealth } from '../observe/readiness.ts';
import type { Slot } from './slot.ts';

/** The rate is that of the last so many ms. */
const WINDOW_MS = 60_000;
/** A rate over less is that of a burst. */
const MIN_WINDOW_MS = 1000;
const SHORT_MINUTES = 60;
/** A slot keeps up while it has less than this part of its WAL unacknowledged, or kept: a short runway is then a burst. */
const BEHIND = 0.1;
const FULL = 0.5;

interface Sample {
  readonly atMs: number;
  readonly safeWalBytes: number;
}

/**
 * How long the slot will live (invariant 8): the one definition of its runway and of danger, for `/readyz`, metrics, `status` and
 * `doctor`. The runway is how long the WAL that may still be written will last, at the rate at which it shrank in the last
 * minute. Whoever sees the slot for the first time takes Postgres' average rate of WAL instead.
 *
 * A slot in danger stays so until it has caught up, also when nothing is written for a while.
 */
export class SlotWatch {
  readonly #samples: Sample[] = [];
  #isEndangered = false;

  /** @param atMs monotonic, ms */
  observe(slot: Slot, atMs: number): SlotHealth {
    const { walStatus, safeWalBytes } = slot;
    const minutes = safeWalBytes === undefined ? Infinity : this.#runway(safeWalBytes, slot.walBytesPerSecond, atMs);
    const isShort = minutes < SHORT_MINUTES || this.#isEndangered;
    this.#isEndangered = walStatus === 'unreserved' || (isBehind(slot) && isShort);
    return {
      walStatus,
      safeWalBytes,
      runwayMinutes: minutes === Infinity ? undefined : Math.floor(minutes),
      endangered: this.#isEndangered,
    };
  }

  #runway(safeWalBytes: number, averageRate: number, atMs: number): number {
    const samples = this.#samples;
    samples.push({ atMs, safeWalBytes });
    while (samples.length > 2 && samples[1]!.atMs <= atMs - WINDOW_MS) samples.shift();
    const [first] = samples;
    const spanMs = atMs - first!.atMs;
    const bytesPerSecond =
      samples.length === 1
        ? averageRate
        : spanMs < MIN_WINDOW_MS
          ? 0
          : (1000 * (first!.safeWalBytes - safeWalBytes)) / spanMs;
    return bytesPerSecond <= 0 ? Infinity : Math.max(0, safeWalBytes) / bytesPerSecond / 60;
  }
}

/** Whether it keeps so much WAL that a short runway would be more than a burst. */
function isBehind({ safeWalBytes, retainedBytes, unconfirmedBytes }: Slot): boolean {
  const limit = safeWalBytes === undefined ? Infinity : safeWalBytes + retainedBytes;
  return unconfirmedBytes > BEHIND * limit || retainedBytes > FULL * limit;
}
