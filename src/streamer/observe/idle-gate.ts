/** After the last that waited, ClickHouse is asked as usual for so long. */
const LINGER_MS = 60_000;
/** Then it is asked so often. */
const RARELY_MS = 3_600_000;

/** Keeps periodic questions from keeping a service awake that would sleep: with nothing waiting, they are asked rarely. */
export class IdleGate {
  readonly #now: () => number;
  readonly #isBusy: () => boolean;
  #busyAt: number;
  #askedAt: number;

  /**
   * @param isBusy whether something waits
   * @param now monotonic, ms
   */
  constructor(isBusy: () => boolean, now = () => performance.now()) {
    this.#isBusy = isBusy;
    this.#now = now;
    this.#busyAt = this.#askedAt = now();
  }

  /** Whether to ask now; who is told so does. */
  get isOpen(): boolean {
    const now = this.#now();
    if (this.#isBusy()) this.#busyAt = now;
    if (now - this.#busyAt > LINGER_MS && now - this.#askedAt < RARELY_MS) return false;
    this.#askedAt = now;
    return true;
  }
}
