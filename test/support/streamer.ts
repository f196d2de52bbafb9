import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { CHILD_ENVIRONMENT } from './child-environment.ts';
import { eventually } from './wait.ts';

const CLI = new URL('../../src/streamer/commands/cli.ts', import.meta.url).pathname;

export interface LogLine {
  readonly level: string;
  readonly msg: string;
  readonly err?: {
    readonly code?: string;
    readonly next?: string;
    readonly message?: string;
    readonly problems?: string[];
  };
  readonly [field: string]: unknown;
}

/** The streamer as operators run it: a process of its own, configured by its environment. */
export class Streamer {
  readonly logs: LogLine[] = [];
  /** Everything that it wrote, to look for what must not be there. */
  output = '';
  readonly #child: ChildProcess;
  readonly #exit: Promise<number | null>;

  /** @param cli the streamer's entry, when it is not this repository's own */
  constructor(environment: Record<string, string>, cli = CLI, node = process.execPath) {
    this.#child = spawn(node, [cli, 'run'], {
      env: {
        ...CHILD_ENVIRONMENT,
        LOG_LEVEL: 'debug',
        OUTBOX_FLUSH_INTERVAL_MS: '50',
        OUTBOX_RETRY_MAX_MS: '1000',
        OUTBOX_HEALTH_PORT: '0',
        ...environment,
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#exit = once(this.#child, 'exit').then(([code]) => code as number | null);
    createInterface(this.#child.stdout!).on('line', (line) => {
      this.output += `${line}\n`;
      this.logs.push(JSON.parse(line) as LogLine);
    });
    this.#child.stderr!.on('data', (chunk: Buffer) => {
      this.output += chunk.toString();
    });
  }

  get pid(): number {
    return this.#child.pid!;
  }

  get isRunning(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** The first line that matches, now or later; fails when the process ends without it. */
  async log(matches: (line: LogLine) => boolean, what = 'a line of the log'): Promise<LogLine> {
    return eventually(
      () => `${what}, in\n${this.output}`,
      () => {
        const line = this.logs.find(matches);
        if (line === undefined && !this.isRunning)
          throw new Error(`the streamer ended without ${what}:\n${this.output}`);
        return line;
      },
    );
  }

  async attached(): Promise<void> {
    await this.log(({ msg }) => msg === 'attached', 'attaching');
  }

  async failure(code: string): Promise<LogLine> {
    return this.log(({ err }) => err?.code === code, code);
  }

  async kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#exit;
  }

  /** Asks for a graceful stop and returns the exit code. */
  async stop(): Promise<number | null> {
    this.signal('SIGTERM');
    return this.#exit;
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  async exited(): Promise<number | null> {
    return this.#exit;
  }
}
