/**
 * Work that is done now and then beside the stream. The pause is half of what is asked for to one and a half, so that many streamers of one
 * server do not come at once.
 */
export class Recurring {
  readonly #work: (signal: AbortSignal) => Promise<number>;
  #over: AbortController | undefined;
  #timer: NodeJS.Timeout | undefined;

  /** @param work does it once, and returns after how many ms it is to be done again. It must not throw; once it is aborted, it is done no more */
  constructor(work: (signal: AbortSignal) => Promise<number>) {
    this.#work = work;
  }

  start(firstMs: number): void {
    this.stop();
    this.#over = new AbortController();
    this.#in(firstMs, this.#over.signal);
  }

  /** What is under way is told by its signal, and not waited for. */
  stop(): void {
    this.#over?.abort();
    clearTimeout(this.#timer);
  }

  #in(ms: number, signal: AbortSignal): void {
    const run = async (): Promise<void> => {
      const againMs = await this.#work(signal);
      if (!signal.aborted) this.#in(againMs, signal);
    };
    this.#timer = setTimeout(() => void run(), ms * (0.5 + Math.random()));
  }
}
