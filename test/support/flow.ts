import type { Socket } from 'node:net';

const TICK_MS = 20;

/** One way of a proxied connection: what comes from one socket goes to the other, at once, slowly, or not now. */
export class Flow {
  readonly from: Socket;
  readonly #to: Socket;
  readonly #waiting: Buffer[] = [];
  #held = false;
  #ticking = false;

  constructor(from: Socket, to: Socket) {
    this.from = from;
    this.#to = to;
  }

  hold(): void {
    this.#held = true;
    this.from.pause();
  }

  release(): void {
    this.#held = false;
    for (const chunk of this.#waiting.splice(0)) this.#to.write(chunk);
    this.from.resume();
  }

  pass(chunk: Buffer, bytesPerSecond: number): void {
    if (chunk.length === 0) return;
    if (bytesPerSecond === Infinity && this.#waiting.length === 0) {
      this.#to.write(chunk);
      return;
    }
    this.#waiting.push(chunk);
    this.from.pause();
    if (!this.#ticking) this.#tick(Math.max(1, Math.round((bytesPerSecond * TICK_MS) / 1000)));
  }

  /** Passes so many bytes, and again after a while. */
  #tick(bytes: number): void {
    this.#ticking = true;
    const [chunk] = this.#waiting;
    if (chunk === undefined || this.#to.destroyed) {
      this.#waiting.length = 0;
      this.#ticking = false;
      if (!this.#held) this.from.resume();
      return;
    }
    if (!this.#held) {
      this.#to.write(chunk.subarray(0, bytes));
      if (chunk.length > bytes) this.#waiting[0] = chunk.subarray(bytes);
      else this.#waiting.shift();
    }
    setTimeout(() => this.#tick(bytes), TICK_MS);
  }
}
