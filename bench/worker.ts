import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

const CLI = new URL('../packages/streamer/dist/streamer/commands/cli.js', import.meta.url).pathname;

/** A line that a worker prints, or a line of the streamer's log. */
export type Line = Readonly<Record<string, unknown>> & { readonly msg: string };

/** A process that is measured. It reports in lines of JSON: `attached` when its work begins. */
export class Worker implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #exit: Promise<unknown>;
  readonly #lines: Line[] = [];
  #heard: (() => void) | undefined;
  #hasEnded = false;

  private constructor(child: ChildProcess) {
    this.#child = child;
    this.#exit = once(child, 'exit');
    child.on('exit', () => {
      this.#hasEnded = true;
      this.#heard?.();
    });
    createInterface(child.stdout!).on('line', (line) => {
      this.#lines.push(JSON.parse(line) as Line);
      this.#heard?.();
    });
  }

  /** Starts a script of bench/workers; resolves when the script reports `attached`. */
  static async start(script: string, environment: Record<string, string>): Promise<Worker> {
    return Worker.#spawn([new URL(`workers/${script}`, import.meta.url).pathname], environment);
  }

  /** Starts the built streamer; resolves when it holds the slot. */
  static async stream(environment: Record<string, string>): Promise<Worker> {
    return Worker.#spawn([CLI, 'run'], { OUTBOX_HEALTH_PORT: '0', ...environment });
  }

  static async #spawn(args: string[], environment: Record<string, string>): Promise<Worker> {
    const child = spawn(process.execPath, args, { env: environment, stdio: ['ignore', 'pipe', 'inherit'] });
    const worker = new Worker(child);
    await worker.said('attached');
    return worker;
  }

  get pid(): number {
    return this.#child.pid!;
  }

  /** Resolves with the first line that has this message; rejects if the process ends first. */
  async said(message: string): Promise<Line> {
    for (;;) {
      const line = this.#lines.find(({ msg }) => msg === message);
      if (line !== undefined) return line;
      this.mustRun();
      await new Promise<void>((resolve) => (this.#heard = resolve));
    }
  }

  /** Throws if the process has ended. */
  mustRun(): void {
    if (this.#hasEnded) throw new Error(`a worker ended: ${JSON.stringify(this.#lines.at(-1))}`);
  }

  async end(signal: NodeJS.Signals): Promise<void> {
    this.#child.kill(signal);
    await this.#exit;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end('SIGKILL');
  }
}

/** For workers: prints a line. */
export function say(msg: string, fields: Record<string, unknown> = {}): void {
  process.stdout.write(`${JSON.stringify({ msg, ...fields })}\n`);
}

/** For workers: returns a required environment variable. */
export function given(name: string): string {
  const value = process.env[name];
  if (value === undefined) throw new Error(`${name} is missing`);
  return value;
}
