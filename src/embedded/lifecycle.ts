import { isRunning } from './children.ts';
import type { Guard } from './guard.ts';
import { failed, tail } from './log.ts';
import { ServerProcess, type Command } from './server-process.ts';
import { until, within } from './wait.ts';

const START_TIMEOUT_MS = 60_000;
const STOP_TIMEOUT_MS = 60_000;
const GONE_TIMEOUT_MS = 1_000;

export interface Recipe {
  name: string;
  command: Command;
  /** Undoes what the last run left, so that `ready` speaks of this one. */
  prepare?(): Promise<void>;
  ready(pid: number): Promise<boolean>;
  /** Processes that would outlive a SIGKILL of `pid` for a while. */
  descendants?(pid: number): Promise<readonly number[]>;
}

/** Starting, stopping and killing one server, any number of times. */
export class Lifecycle {
  readonly #guard: Guard;
  readonly #recipe: Recipe;
  #process: ServerProcess | undefined;
  #starting: Promise<void> | undefined;

  constructor(guard: Guard, recipe: Recipe) {
    this.#guard = guard;
    this.#recipe = recipe;
  }

  /** Of the running server, or of the last one. 0 before the first start. */
  get pid(): number {
    return this.#process?.pid ?? 0;
  }

  start(): Promise<void> {
    this.#starting ??= this.#start().finally(() => (this.#starting = undefined));
    return this.#starting;
  }

  async #start(): Promise<void> {
    if (this.#process?.running) return;
    const { name, command } = this.#recipe;
    await this.#process?.ended;
    await this.#recipe.prepare?.();
    const server = await ServerProcess.spawn(command);
    this.#process = server;
    this.#guard.watch(server.pid);
    server.onExit(() => this.#guard.watch(undefined));
    server.release();

    const ready = await until(async () => !server.running || (await this.#recipe.ready(server.pid)), START_TIMEOUT_MS);
    if (server.running && ready) return;
    const what = server.running ? `was not ready within ${START_TIMEOUT_MS / 1000} s` : 'ended while starting';
    await this.kill();
    throw failed(`${name} ${what}; the end of ${command.log}:`, await tail(command.log, server.logStart));
  }

  async stop(signal: NodeJS.Signals): Promise<void> {
    const server = this.#process;
    if (server === undefined) return;
    server.signal(signal);
    // a process that is stopped (SIGSTOP) takes no other signal
    server.signal('SIGCONT');
    if (await within(server.ended, STOP_TIMEOUT_MS)) return;
    const { name, command } = this.#recipe;
    const what = `${name} did not stop within ${STOP_TIMEOUT_MS / 1000} s after ${signal} and still runs; the end of ${command.log}:`;
    throw failed(what, await tail(command.log, server.logStart));
  }

  async kill(): Promise<void> {
    const server = this.#process;
    if (server === undefined) return;
    // stopped first, so that it starts no process after they have been counted
    server.signal('SIGSTOP');
    const descendants = server.running ? ((await this.#recipe.descendants?.(server.pid)) ?? []) : [];
    server.signal('SIGKILL');
    for (const pid of descendants) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // it has ended by itself
      }
    }
    await server.ended;
    // a process closes its files a moment before it is gone
    const gone = async (): Promise<boolean> => !(await Promise.all(descendants.map(isRunning))).includes(true);
    await until(gone, GONE_TIMEOUT_MS);
  }

  /** SIGSTOP or SIGCONT, for tests that need a server which neither answers nor refuses. */
  signal(name: 'SIGSTOP' | 'SIGCONT'): void {
    this.#process?.signal(name);
  }
}
