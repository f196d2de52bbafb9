import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, fstatSync, openSync } from 'node:fs';
import { Readable, type Writable } from 'node:stream';
import { failed } from './log.ts';

export interface Command {
  file: string;
  args: readonly string[];
  directory: string;
  log: string;
  env: Readonly<Record<string, string>>;
  account: { uid: number; gid: number } | undefined;
}

// The server's process exists, and its id is known, before the server does: one line lets it go on, the end of the pipe
// (this process has died) does not. `exec` keeps the id, and leaves the pipe to the server as its stdin.
const GATE = 'read -r _ && exec "$@"';

/** One run of a server. */
export class ServerProcess {
  readonly pid: number;
  /** Where in the log this run begins, in bytes. */
  readonly logStart: number;
  /** Resolves when the process and all its descendants are gone. */
  readonly ended: Promise<void>;
  #running = true;
  readonly #child: ChildProcess;
  readonly #stdin: Writable;

  private constructor(child: ChildProcess, stdin: Writable, alive: Readable, pid: number, logStart: number) {
    this.#child = child;
    this.#stdin = stdin;
    this.pid = pid;
    this.logStart = logStart;
    stdin.on('error', () => {});
    alive.on('error', () => {});
    alive.resume();
    child.on('error', () => {});
    child.once('exit', () => (this.#running = false));
    // 'close' waits for `alive`, the pipe that every descendant inherits: it ends with the last of them
    this.ended = new Promise((resolve) => child.once('close', () => resolve()));
  }

  static async spawn({ file, args, directory, log, env, account }: Command): Promise<ServerProcess> {
    const output = openSync(log, 'a', 0o600);
    try {
      const logStart = fstatSync(output).size;
      const child = spawn('/bin/sh', ['-c', GATE, 'sh', file, ...args], {
        cwd: directory,
        env,
        ...account,
        // Ctrl-C in a terminal is for this process, which may still need its servers to end well
        detached: true,
        stdio: ['pipe', output, output, 'pipe'],
      });
      const alive = child.stdio[3];
      if (child.pid === undefined || child.stdin === null || !(alive instanceof Readable)) {
        const cause = await new Promise((resolve) => child.once('error', resolve));
        throw failed(`${file} could not be run.`, [], cause);
      }
      return new ServerProcess(child, child.stdin, alive, child.pid, logStart);
    } finally {
      closeSync(output);
    }
  }

  get running(): boolean {
    return this.#running;
  }

  /** Lets the server begin. */
  release(): void {
    this.#stdin.write('\n');
  }

  onExit(listener: () => void): void {
    this.#child.once('exit', listener);
  }

  signal(name: NodeJS.Signals): void {
    if (this.#running) this.#child.kill(name);
  }
}
