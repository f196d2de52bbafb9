import type { Socket } from 'node:net';

/** After so many reads the socket rests for a millisecond: the walsender does one send() a message, and an eager reader makes each of them a wake-up. */
const READS_PER_TURN = 4;
const REST_MS = 1;

/** Says when a reader should rest, and wakes it up. */
export class Pace {
  readonly #isPaced: boolean;
  readonly #wake: () => void;
  #reads = 0;
  #rest: NodeJS.Timeout | undefined;

  constructor(socket: Socket, wake: () => void) {
    // on a Unix socket resting costs more than it saves
    this.#isPaced = socket.remoteAddress !== undefined;
    this.#wake = wake;
  }

  /** Counts a read. Returns true when the reader is to rest until it is woken. */
  rests(): boolean {
    if (!this.#isPaced || ++this.#reads < READS_PER_TURN) return false;
    this.#reads = 0;
    if (this.#rest === undefined) this.#rest = setTimeout(this.#wake, REST_MS);
    else this.#rest.refresh();
    return true;
  }

  stop(): void {
    clearTimeout(this.#rest);
  }
}
