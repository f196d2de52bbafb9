/** The first events after a quiet moment wait so long for company: those of a burst are then one insert. */
const LINGER_MS = 5;

export interface FlushTimerOptions {
  /** The least time between two inserts that are not full. */
  readonly intervalMs: number;
  /** Monotonic clock, ms. */
  readonly now: () => number;
  /** The first batch repeats a recorded range: only its last row makes it due. */
  readonly isFirstExact: boolean;
}

/**
 * Says when the batch that fills is cut. The reasons, in this order:
 *
 *   1. full: it takes no more
 *   2. asked for: the server wants an answer, or the streamer stops
 *   3. caught up: the batch before was full, and the server has nothing more to send
 *   4. first after quiet: no batch was cut for an interval, so this one waits for LINGER_MS only, and for the end of its transaction
 *   5. age: an interval has passed since the batch before was cut, or since the first row of one after quiet
 *
 * So a sporadic event goes out at once, and a steady stream makes one insert an interval.
 */
export class FlushTimer {
  readonly #options: FlushTimerOptions;
  #isExact: boolean;
  /** When the first row came; undefined while the batch is empty. */
  #beganAt: number | undefined;
  #isFirstAfterQuiet = false;
  #isFull = false;
  #isAskedFor = false;
  #wasFull = false;
  #cutAt = -Infinity;
  #isInTransaction = false;

  constructor(options: FlushTimerOptions) {
    this.#options = options;
    this.#isExact = options.isFirstExact;
  }

  get isFull(): boolean {
    return this.#isFull;
  }

  /** The batch has its first row. */
  began(): void {
    this.#beganAt = this.#options.now();
    this.#isFirstAfterQuiet = this.#beganAt >= this.#cutAt + this.#options.intervalMs;
  }

  /** A transaction has begun. */
  opened(): void {
    this.#isInTransaction = true;
  }

  get isInTransaction(): boolean {
    return this.#isInTransaction;
  }

  /** A transaction has ended. Returns whether that may make due what is there. */
  committed(): boolean {
    this.#isInTransaction = false;
    return this.#isFirstAfterQuiet;
  }

  /** The batch takes no more. */
  filled(): void {
    this.#isFull = true;
  }

  /** Makes due what is there, once, and nothing that comes later. */
  flushNow(): void {
    this.#isAskedFor = this.#beganAt !== undefined;
  }

  /** The server has nothing more to send for now. Returns whether something is due by it. */
  caughtUp(): boolean {
    if (!this.#wasFull || this.#beganAt === undefined) return false;
    this.#wasFull = false;
    this.flushNow();
    return true;
  }

  /** ms until the batch is due; 0 when it is, undefined when only more rows can make it due. */
  dueIn(): number | undefined {
    if (this.#isFull) return 0;
    if (this.#beganAt === undefined || this.#isExact) return undefined;
    if (this.#isAskedFor) return 0;
    const { intervalMs, now } = this.#options;
    const dueAt = this.#isFirstAfterQuiet
      ? this.#beganAt + (this.#isInTransaction ? intervalMs : LINGER_MS)
      : this.#cutAt + intervalMs;
    return Math.max(0, dueAt - now());
  }

  /** The batch was cut, and the next one is empty. */
  cut(): void {
    this.#cutAt = this.#options.now();
    this.#wasFull = this.#isFull;
    this.#isFull = false;
    this.#isAskedFor = false;
    this.#isExact = false;
    this.#isFirstAfterQuiet = false;
    this.#beganAt = undefined;
  }
}
