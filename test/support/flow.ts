import type { Socket } from 'node:net';

const TICK_MS = 20;

/** One way of a proxied connection: what comes from one socket goes to the other, at once, slowly, or not now. */
export class Flow {
  readonly from: Socket;
  readonly #to: Socket;
  readonly #waiting: Buffer[] = [];
  #waitingBytes = 0;
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
    this.#waitingBytes = 0;
    this.from.resume();
  }

  pass(chunk: Buffer, bytesPerSecond: number): void {
    if (chunk.length === 0) return;
    if (bytesPerSecond === Infinity && this.#waiting.length === 0) {
      this.#to.write(chunk);
      return;
    }
    this.#waiting.push(chunk);
    this.#waitingBytes += chunk.length;
    const bytes = Math.max(1, Math.round((bytesPerSecond * TICK_MS) / 1000));
    if (this.#waitingBytes >= bytes) this.from.pause();
    if (!this.#ticking) this.#tick(bytes);
  }

  /** Passes so many bytes, and again after a while. */
  #tick(bytes: number): void {
    this.#ticking = true;
    if (this.#waiting.length === 0 || this.#to.destroyed) {
      this.#waiting.length = 0;
      this.#waitingBytes = 0;
      this.#ticking = false;
      if (!this.#held) this.from.resume();
      return;
    }
    for (let left = this.#held ? 0 : bytes; left > 0 && this.#waiting.length > 0;) {
      const chunk = this.#waiting[0]!;
      const part = chunk.subarray(0, left);
      this.#to.write(part);
      if (part.length < chunk.length) this.#waiting[0] = chunk.subarray(part.length);
      else this.#waiting.shift();
      left -= part.length;
      this.#waitingBytes -= part.length;
    }
    if (!this.#held && this.#waitingBytes < bytes) this.from.resume();
    setTimeout(() => this.#tick(bytes), TICK_MS);
  }
}
