import { OutboxError } from '../../errors.ts';
import type { Logger } from '../observe/log.ts';
import type { Status } from '../observe/readiness.ts';
import { AckLag } from './lag.ts';
import type { Slot } from './slot.ts';

/** The rate is that of the last so many ms. */
const WINDOW_MS = 60_000;
/** A rate over less is that of a burst. */
const MIN_WINDOW_MS = 1000;
export const SHORT_MINUTES = 60;
/** A slot keeps up while it has less than this part of its WAL unacknowledged, or kept: a short runway is then a burst. */
const BEHIND = 0.1;
const FULL = 0.5;

interface Sample {
  readonly atMs: number;
  readonly safeWalBytes: number;
}

/** Whether it keeps so much WAL that a short runway would be more than a burst. */
export function isBehind({ safeWalBytes, retainedBytes, unconfirmedBytes }: Slot): boolean {
  const limit = safeWalBytes === undefined ? Infinity : safeWalBytes + retainedBytes;
  return unconfirmedBytes > BEHIND * limit || retainedBytes > FULL * limit;
}

/** How long the slot will live if the WAL that may still be written goes on shrinking as it does. */
export class Runway {
  readonly #samples: Sample[] = [];

  /** Minutes, at the rate of the last minute; undefined while nothing shrinks, or without a limit. */
  add(sample: Sample): number | undefined {
    this.#samples.push(sample);
    while (this.#samples.length > 2 && this.#samples[1]!.atMs <= sample.atMs - WINDOW_MS) this.#samples.shift();
    const [first] = this.#samples;
    const spanMs = sample.atMs - first!.atMs;
    const shrunk = first!.safeWalBytes - sample.safeWalBytes;
    if (spanMs < MIN_WINDOW_MS || shrunk <= 0) return undefined;
    return (Math.max(0, sample.safeWalBytes) * (spanMs / 60_000)) / shrunk;
  }
}

/**
 * Tells operators of a slot in danger before it is lost (invariant 8): on transitions, never again and again. Once in
 * danger it stays so until it has caught up, also when nothing is written for a while.
 */
export class SlotWatch {
  readonly #log: Logger;
  readonly #status: Status;
  readonly #runway = new Runway();
  readonly #lag = new AckLag();
  #isEndangered = false;

  constructor(log: Logger, status: Status) {
    this.#log = log;
    this.#status = status;
  }

  /** @param atMs monotonic, ms */
  look(slot: Slot, atMs: number): void {
    const { walStatus, safeWalBytes, confirmedLsn, unconfirmedBytes } = slot;
    const minutes = safeWalBytes === undefined ? undefined : this.#runway.add({ atMs, safeWalBytes });
    const runwayMinutes = minutes === undefined ? undefined : Math.floor(minutes);
    const isShort = runwayMinutes !== undefined && runwayMinutes < SHORT_MINUTES;
    const isEndangered = walStatus === 'unreserved' || (isBehind(slot) && (isShort || this.#isEndangered));
    const lagMs = this.#lag.add({ atMs, confirmedLsn, walEnd: confirmedLsn + unconfirmedBytes });
    this.#status.measures.slot = slot;
    this.#status.slotSeen(
      { walStatus, safeWalBytes, runwayMinutes, endangered: isEndangered },
      { bytes: unconfirmedBytes, ms: lagMs },
    );
    if (isEndangered === this.#isEndangered) return;
    this.#isEndangered = isEndangered;
    const facts = { walStatus, safeWalBytes, runwayMinutes };
    if (isEndangered)
      this.#log.error({ err: new OutboxError('OUTBOX_SLOT_ENDANGERED'), ...facts }, 'the slot is in danger');
    else this.#log.info(facts, 'the slot is out of danger');
  }
}
