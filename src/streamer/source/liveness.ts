/** Walsender and streamer each give the other up after this long without a word. */
export const SILENCE_MS = 30_000;
/** After this long without a word the server is asked for an answer. */
const ASK_AFTER_MS = SILENCE_MS / 3;
/** So much of a message is a sign of life before its end. Less is not: keepalives may be vanishing in a length that is wrong. */
const PROGRESS_BYTES = 64 * 1024;

/** When the server was last heard: what counts as a sign of life, and how long without one is too long. */
export class Liveness {
  #heardAt = performance.now();
  /** The read that is looked through has completed a message. */
  #completed = false;
  /** Bytes since the last sign of life. */
  #unheard = 0;

  /** A read is about to be looked through. */
  reading(): void {
    this.#completed = false;
  }

  /** A message has come whole. */
  completed(): void {
    this.#completed = true;
  }

  /** The read has been looked through. */
  read(bytes: number): void {
    this.#unheard += bytes;
    if (!this.#completed && this.#unheard < PROGRESS_BYTES) return;
    this.#unheard = 0;
    this.#heardAt = performance.now();
  }

  /** Nothing was listened for; from now on it is. */
  listening(): void {
    this.#heardAt = performance.now();
  }

  get shouldAsk(): boolean {
    return performance.now() - this.#heardAt > ASK_AFTER_MS;
  }

  get isSilent(): boolean {
    return performance.now() - this.#heardAt > SILENCE_MS;
  }
}
