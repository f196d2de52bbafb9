/** A failure that lasts is said again this often. */
const REMIND_MS = 60_000;

/** How loudly a failure is logged: as an error when it is new, as a warning once a minute while it lasts, otherwise to debug by. */
export class Repeats {
  readonly #now: () => number;
  /** When each was last said. */
  readonly #saidAt = new Map<string, number>();

  /** @param now monotonic clock, ms */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  level(failure: string): 'error' | 'warn' | 'debug' {
    const saidAt = this.#saidAt.get(failure);
    if (saidAt !== undefined && this.#now() - saidAt < REMIND_MS) return 'debug';
    this.#saidAt.set(failure, this.#now());
    return saidAt === undefined ? 'error' : 'warn';
  }

  /** It works: every failure is a new one again. */
  end(): void {
    this.#saidAt.clear();
  }

  get isFailing(): boolean {
    return this.#saidAt.size > 0;
  }
}
