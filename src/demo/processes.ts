import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

const extension = import.meta.url.endsWith('.ts') ? '.ts' : '.js';
export const CLI = new URL(`../streamer/commands/cli${extension}`, import.meta.url).pathname;
export const SHOP = new URL(`./serve${extension}`, import.meta.url).pathname;

interface Line {
  readonly level?: string;
  readonly msg: string;
  readonly url?: string;
  readonly err?: { readonly code?: string };
}

type Env = Readonly<Record<string, string>>;

/** Runs a command to its end; throws when it fails. */
export async function run(script: string, args: readonly string[], env: Env): Promise<void> {
  const child = spawn(process.execPath, [script, ...args], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const [code] = (await once(child, 'exit')) as [number | null];
  if (code !== 0) throw new Error(`${args.join(' ')} ended with ${code}`);
}

/** A process that logs JSON lines, and has said that it is up. */
export class Service {
  readonly #child: ChildProcess;
  /** The line that said so. */
  readonly up: Line;

  private constructor(child: ChildProcess, up: Line) {
    this.#child = child;
    this.up = up;
  }

  static async start(
    script: string,
    args: readonly string[],
    env: Env,
    upMessage: string,
    onError: (line: Line) => void,
  ): Promise<Service> {
    const child = spawn(process.execPath, [script, ...args], {
      env: { ...process.env, ...env },
      // Ctrl+C is for the demo, which stops them in order
      detached: true,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    // detached, it would outlive a demo that is interrupted
    process.once('exit', () => child.kill('SIGTERM'));
    const up = await new Promise<Line>((resolve, reject) => {
      child.on('exit', (code) => reject(new Error(`${script} ended with ${code}`)));
      createInterface(child.stdout).on('line', (text) => {
        const line = JSON.parse(text) as Line;
        if (line.msg === upMessage) resolve(line);
        if (line.level === 'error') onError(line);
      });
    });
    return new Service(child, up);
  }

  /** SIGTERM; resolves with the exit code. */
  async stop(): Promise<number | null> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      this.#child.kill('SIGTERM');
      await once(this.#child, 'exit');
    }
    return this.#child.exitCode;
  }
}
