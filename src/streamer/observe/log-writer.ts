import { constants, fstatSync, openSync, writeSync } from 'node:fs';
import type { DestinationStream } from 'pino';

/** Lines wait so long for a reader that is slow, and no more of them are kept. */
const MAX_WAITING_BYTES = 1024 * 1024;
const AGAIN_MS = 50;

/**
 * Writes lines to a file descriptor at once, so that the last one before an exit is not lost, and never waits: not for a reader
 * that reads no more, and not for room on a disk. What cannot be written is dropped and counted.
 */
export class LogWriter implements DestinationStream {
  readonly #fd: number;
  /** Lines that were dropped since the process began. */
  dropped = 0;
  #waiting: Buffer[] = [];
  #waitingBytes = 0;
  #isRetrying = false;

  constructor(fd = stdout()) {
    this.#fd = fd;
    process.once('exit', () => this.#flush());
  }

  write(line: string): void {
    const bytes = Buffer.from(line);
    if (this.#waitingBytes + bytes.length > MAX_WAITING_BYTES) {
      this.dropped++;
      return;
    }
    this.#waiting.push(bytes);
    this.#waitingBytes += bytes.length;
    this.#flush();
  }

  #flush(): void {
    for (let line = this.#waiting[0]; line !== undefined; line = this.#waiting[0]) {
      try {
        const written = writeSync(this.#fd, line);
        this.#waitingBytes -= written;
        if (written < line.length) this.#waiting[0] = line.subarray(written);
        else this.#waiting.shift();
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'EAGAIN') {
          this.#retry();
          return;
        }
        this.dropped++;
        this.#waitingBytes -= line.length;
        this.#waiting.shift();
      }
    }
  }

  #retry(): void {
    if (this.#isRetrying) return;
    this.#isRetrying = true;
    setTimeout(() => {
      this.#isRetrying = false;
      this.#flush();
    }, AGAIN_MS).unref();
  }
}

/** Stdout; where that is a pipe, it is opened once more, so that it says that it is full instead of holding the process. */
function stdout(): number {
  try {
    return fstatSync(1).isFIFO() ? openSync('/proc/self/fd/1', constants.O_WRONLY | constants.O_NONBLOCK) : 1;
  } catch {
    return 1;
  }
}
