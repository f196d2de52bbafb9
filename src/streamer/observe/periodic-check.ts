/**
 * Runs a check at intervals and whenever it is asked for, one run at a time. However often it is asked for during a run, it
 * runs once more afterwards.
 */
export class PeriodicCheck {
  readonly #check: () => Promise<void>;
  readonly #onFailure: (error: unknown) => void;
  readonly #timer: NodeJS.Timeout;
  #running: Promise<void> | undefined;
  #isWanted = false;
  #isStopped = false;

  constructor(everyMs: number, check: () => Promise<void>, onFailure: (error: unknown) => void) {
    this.#check = check;
    this.#onFailure = onFailure;
    this.#timer = setInterval(() => void this.run(), everyMs);
  }

  /** Resolves when a run that began after this call has ended, well or not, and at once after `stop`; never rejects. */
  async run(): Promise<void> {
    if (this.#isStopped) return;
    this.#isWanted = true;
    this.#running ??= this.#loop();
    return this.#running;
  }

  stop(): void {
    this.#isStopped = true;
    clearInterval(this.#timer);
  }

  async #loop(): Promise<void> {
    while (this.#isWanted && !this.#isStopped) {
      this.#isWanted = false;
      try {
        await this.#check();
      } catch (error) {
        this.#onFailure(error);
      }
    }
    // in the same turn as the last look at `isWanted`: whoever asks from now on starts a new loop
    this.#running = undefined;
  }
}
