/**
 * One answer for all who ask within a time, however many browsers are open. Who asks while the question is under way gets its answer;
 * a failure is not kept.
 */
export class Shared<T> {
  readonly #everyMs: number;
  readonly #ask: () => Promise<T>;
  readonly #now: () => number;
  #answer: Promise<T> | undefined;
  #isUnderWay = false;
  #answeredAt = 0;

  /** @param now monotonic, ms */
  constructor(everyMs: number, ask: () => Promise<T>, now = (): number => performance.now()) {
    this.#everyMs = everyMs;
    this.#ask = ask;
    this.#now = now;
  }

  async get(): Promise<T> {
    const isFresh = this.#isUnderWay || this.#now() - this.#answeredAt < this.#everyMs;
    if (this.#answer === undefined || !isFresh) this.#answer = this.#begin();
    return this.#answer;
  }

  async #begin(): Promise<T> {
    this.#isUnderWay = true;
    try {
      return await this.#ask();
    } catch (error) {
      this.#answer = undefined;
      throw error;
    } finally {
      this.#isUnderWay = false;
      this.#answeredAt = this.#now();
    }
  }
}
