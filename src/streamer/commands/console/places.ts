import { OutboxError } from '../../../errors.ts';

/**
 * So many questions are under way at once, and others wait for a place: in the queue of a connection they would look like questions
 * that the server does not answer.
 */
export class Places {
  readonly #patienceMs: number;
  readonly #waiting = new Set<() => void>();
  #free: number;

  constructor(count: number, patienceMs: number) {
    this.#free = count;
    this.#patienceMs = patienceMs;
  }

  /** Throws what the work throws, the signal's reason, and OUTBOX_CONSOLE_BUSY where no place becomes free in time. */
  async within<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    await this.#enter(signal);
    try {
      return await work();
    } finally {
      this.#leave();
    }
  }

  async #enter(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.#free > 0) {
      this.#free--;
      return;
    }
    const over = AbortSignal.any([signal, AbortSignal.timeout(this.#patienceMs)]);
    await new Promise<void>((resolve, reject) => {
      const giveUp = (): void => {
        this.#waiting.delete(enter);
        reject(signal.aborted ? (signal.reason as Error) : new OutboxError('OUTBOX_CONSOLE_BUSY'));
      };
      const enter = (): void => {
        over.removeEventListener('abort', giveUp);
        resolve();
      };
      over.addEventListener('abort', giveUp, { once: true });
      this.#waiting.add(enter);
    });
  }

  #leave(): void {
    const [next] = this.#waiting;
    if (next === undefined) {
      this.#free++;
      return;
    }
    this.#waiting.delete(next);
    next();
  }
}
