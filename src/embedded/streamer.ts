import { execFile } from 'node:child_process';
import { readFile, rm } from 'node:fs/promises';
import { dirname, extname, join } from 'node:path';
import { promisify } from 'node:util';
import { Guard } from './guard.ts';
import { Lifecycle } from './lifecycle.ts';
import { failed } from './log.ts';
import { resolvePackage } from './packages.ts';

const run = promisify(execFile);

/** The streamer's settings by the names of docs/configuration.md; DATABASE_URL and CLICKHOUSE_URL among them. */
export type StreamerSettings = Readonly<Record<string, string>>;

export interface EmbeddedStreamer extends AsyncDisposable {
  /** The file of its log, a line of JSON each; gone after dispose(). */
  readonly log: string;
  /** The process, or the last one when none runs; 0 before the first start. */
  readonly pid: number;
  /** Resolves when it streams. Throws OUTBOX_EMBEDDED_FAILED with the end of its log when it does not within 60 s. */
  start(): Promise<void>;
  /** SIGTERM: it delivers what it has read. Idempotent. */
  stop(): Promise<void>;
  /** SIGKILL; the process is gone when it resolves. */
  kill(): Promise<void>;
  /** Ends the process and removes its log. The death of this process, however it comes, does the same. */
  dispose(): Promise<void>;
}

/** For tests: soon rather than in large batches, and without a port that two at once would share. */
const FOR_TESTS = { OUTBOX_FLUSH_INTERVAL_MS: '20', OUTBOX_RETRY_MAX_MS: '1000', OUTBOX_HEALTH_PORT: '0' };

/** The streamer's CLI: of the package that users install, or beside this file when that is a source. */
export function findStreamer(): string {
  if (extname(import.meta.filename) === '.ts') return join(import.meta.dirname, '../streamer/commands/cli.ts');
  return join(dirname(resolvePackage('pg-outbox-clickhouse-streamer/package.json')), 'dist/streamer/commands/cli.js');
}

/** Nothing of the caller's environment but the path: its settings are another streamer's. */
export function environment(settings: StreamerSettings): Record<string, string> {
  return { PATH: process.env['PATH'] ?? '', ...FOR_TESTS, ...settings };
}

/** Makes the tables of both databases, the publication and the slot. Throws OUTBOX_EMBEDDED_FAILED with what it said. */
export async function migrate(cli: string, settings: StreamerSettings): Promise<void> {
  try {
    await run(process.execPath, [cli, 'migrate'], { env: environment(settings) });
  } catch (error) {
    const output = error instanceof Error && 'stderr' in error ? String(error.stderr).trim() : String(error);
    throw failed('The migration failed:', output.split('\n'), error);
  }
}

/** A streamer that is not started yet. It dies with this process. */
export async function openStreamer(cli: string, settings: StreamerSettings): Promise<EmbeddedStreamer> {
  const guard = await Guard.open('streamer', undefined, 'KILL');
  const log = join(guard.directory, 'streamer.log');
  const lifecycle = new Lifecycle(guard, {
    name: 'The streamer',
    command: {
      file: process.execPath,
      args: [cli, 'run'],
      directory: guard.directory,
      log,
      env: environment(settings),
      account: undefined,
    },
    prepare: () => rm(log, { force: true }),
    ready: async () => (await readFile(log, 'utf8').catch(() => '')).includes('"msg":"attached"'),
  });
  const dispose = async (): Promise<void> => {
    try {
      await lifecycle.kill();
    } finally {
      await guard.release();
    }
  };
  return {
    log,
    get pid() {
      return lifecycle.pid;
    },
    start: () => lifecycle.start(),
    stop: () => lifecycle.stop('SIGTERM'),
    kill: () => lifecycle.kill(),
    dispose,
    [Symbol.asyncDispose]: dispose,
  };
}
