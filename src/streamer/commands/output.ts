import { ERRORS } from '../../errors.ts';
import { printable } from './printable.ts';
import { say } from './terminal.ts';

/** The reader of a pipe has gone, as `head` does: it has what it wanted, and nobody is there to be told. */
const READER_GONE = 'EPIPE';

/** The boundary to the terminal: all that a command writes is printable, and one whose answer was not written has failed. */
export class Output {
  #failure: NodeJS.ErrnoException | undefined;

  constructor() {
    process.stdout.on('error', (error: NodeJS.ErrnoException) => (this.#failure ??= error));
    process.stderr.on('error', () => {});
    for (const stream of [process.stdout, process.stderr]) {
      const write = stream.write.bind(stream) as (chunk: unknown, ...rest: unknown[]) => boolean;
      stream.write = (chunk: unknown, ...rest: unknown[]) =>
        write(typeof chunk === 'string' ? printable(chunk) : chunk, ...rest);
    }
  }

  /**
   * Ends the process once all that was written is out, whoever reads it and however slowly: with `code`, or 1 where stdout could
   * not be written.
   */
  async exit(code: number): Promise<never> {
    await drained(process.stdout);
    const failure = this.#failure;
    if (failure !== undefined && failure.code !== READER_GONE) {
      const { happened, next } = ERRORS.OUTBOX_OUTPUT_FAILED;
      say(`OUTBOX_OUTPUT_FAILED: ${happened} (${failure.code ?? failure.message})\n\nNext: ${next}\n`, process.stderr);
    }
    await drained(process.stderr);
    process.exit(failure === undefined ? code : code || 1);
  }
}

/** A callback comes after those of all earlier writes; what fails at once is told a moment later. */
async function drained(stream: NodeJS.WriteStream): Promise<void> {
  if (stream.writableLength > 0) await new Promise<void>((resolve) => stream.write('', () => resolve()));
  await new Promise((resolve) => setImmediate(resolve));
}
