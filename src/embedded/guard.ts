import { spawn, type ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import type { Writable } from 'node:stream';

/*
 * A shell that outlives this process, because only another process can clean up after a SIGKILL. It reads the id of the
 * server as it changes; the end of the pipe, by release() or by this process's death however it came about, makes it end
 * the server and remove the directory. A dead process that its new parent has not reaped yet (Z) counts as gone.
 */
const SCRIPT = `
pid=
while IFS= read -r line; do pid=$line; done
if [ -n "$pid" ] && kill -s "$1" "$pid"; then
  kill -s CONT "$pid"
  tries=0
  while kill -0 "$pid" && [ "$tries" -lt 100 ]; do
    case $(cat "/proc/$pid/stat") in *') Z '*) break ;; esac
    sleep 0.1; tries=$((tries + 1))
  done
  kill -s KILL "$pid"
fi
[ -z "$2" ] || rm -rf -- "$2" || { sleep 1; rm -rf -- "$2"; }
`;

/** Ends a server and removes its temporary directory when this process is gone. No exit hooks, no signal handlers. */
export class Guard {
  readonly directory: string;
  readonly temporary: boolean;
  readonly #shell: ChildProcess;
  readonly #pipe: Writable;
  readonly #gone: Promise<void>;

  private constructor(name: string, given: string | undefined, signal: 'QUIT' | 'KILL') {
    this.temporary = given === undefined;
    this.directory = given === undefined ? join(tmpdir(), `outbox-${name}-${randomUUID()}`) : resolve(given);
    // detached: Ctrl-C in a terminal reaches the whole process group, and would end the guard before its work
    const shell = spawn('/bin/sh', ['-c', SCRIPT, 'sh', signal, this.temporary ? this.directory : ''], {
      cwd: '/',
      detached: true,
      stdio: ['pipe', 'ignore', 'ignore'],
    });
    this.#shell = shell;
    this.#pipe = shell.stdin;
    this.#gone = new Promise((done) => {
      shell.once('exit', () => done());
      shell.once('error', () => done());
    });
    shell.stdin.on('error', () => {});
    shell.unref();
    if ('unref' in shell.stdin && typeof shell.stdin.unref === 'function') shell.stdin.unref();
  }

  /** Starts the guard first and makes the directory then, so that there is no moment at which it could be left behind. */
  static async open(name: string, given: string | undefined, signal: 'QUIT' | 'KILL'): Promise<Guard> {
    const guard = new Guard(name, given, signal);
    try {
      // Postgres has to pass through what is above, under its own account where this process is root's
      await mkdir(dirname(guard.directory), { recursive: true });
      await mkdir(guard.directory, { recursive: true, mode: 0o700 });
      return guard;
    } catch (error) {
      await guard.release();
      throw error;
    }
  }

  /** Names the server that must not outlive this process; undefined when it has ended. */
  watch(pid: number | undefined): void {
    if (this.#pipe.writable) this.#pipe.write(`${pid ?? ''}\n`);
  }

  /** Resolves when the server, if one still runs, has been ended and the temporary directory removed. Idempotent. */
  async release(): Promise<void> {
    this.#shell.ref();
    this.#pipe.end();
    await this.#gone;
  }
}
