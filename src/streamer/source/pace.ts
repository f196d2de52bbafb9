import type { Socket } from 'node:net';

/**
 * The walsender does one send() a message. Where the reader waits for it, each is a packet and a wake-up; where the reader is
 * behind, the kernel appends it to what waits already. So after a turn of reads the socket rests, for so long that the window
 * fills: of a million events, rests of 1 ms after 4 reads cost the walsender 6.9 CPU seconds, these 2.7 (`npm run bench`).
 * A turn is long enough for 250 MB/s.
 */
const READS_PER_TURN = 32;
const REST_MS = 8;

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
