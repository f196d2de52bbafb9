/** A failure that lasts is logged again this often. */
const REMIND_MS = 60_000;

/** More kinds of failure than this are one: a server that is hostile can make up any number of them. */
const MAX_KINDS = 50;
const OTHERS = '';

/**
 * How loudly a failure is logged: as an error when it is new, as a warning once a minute while it lasts, at debug level
 * otherwise.
 */
export class LogThrottle {
  readonly #now: () => number;
  /** When each was last logged aloud. */
  readonly #loggedAt = new Map<string, number>();

  /** @param now monotonic clock, ms */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  level(failure: string): 'error' | 'warn' | 'debug' {
    const isKnown = this.#loggedAt.has(failure) || this.#loggedAt.size < MAX_KINDS;
    const kind = isKnown ? failure : OTHERS;
    const loggedAt = this.#loggedAt.get(kind);
    if (loggedAt !== undefined && this.#now() - loggedAt < REMIND_MS) return 'debug';
    this.#loggedAt.set(kind, this.#now());
    return loggedAt === undefined ? 'error' : 'warn';
  }

  /** It works again: every failure is a new one from now on. */
  reset(): void {
    this.#loggedAt.clear();
  }

  get isFailing(): boolean {
    return this.#loggedAt.size > 0;
  }
}
