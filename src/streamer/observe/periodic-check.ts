/**
 * Runs a proof now and then and whenever it is asked for, one at a time: asked for while one is under way, it runs once
 * more after it, however often it was asked.
 */
export class Heartbeat {
  readonly #prove: () => Promise<void>;
  readonly #onFailure: (error: unknown) => void;
  readonly #timer: NodeJS.Timeout;
  #running: Promise<void> | undefined;
  #again = false;
  #stopped = false;

  constructor(everyMs: number, prove: () => Promise<void>, onFailure: (error: unknown) => void) {
    this.#prove = prove;
    this.#onFailure = onFailure;
    this.#timer = setInterval(() => void this.beat(), everyMs);
  }

  /** Resolves when a proof that began after this call has ended, well or not; never rejects. */
  async beat(): Promise<void> {
    this.#again = true;
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  stop(): void {
    this.#stopped = true;
    clearInterval(this.#timer);
  }

  async #run(): Promise<void> {
    try {
      while (this.#again && !this.#stopped) {
        this.#again = false;
        await this.#prove();
      }
    } catch (error) {
      this.#onFailure(error);
    }
  }
}
