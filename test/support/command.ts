import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { CHILD_ENVIRONMENT } from './child-environment.ts';
import type { Outbox } from './outbox.ts';

const CLI = new URL('../../src/streamer/commands/cli.ts', import.meta.url).pathname;

export interface Running {
  readonly pid: number;
  readonly done: Promise<{ code: number | null; stdout: string; stderr: string }>;
  /** Ends it with SIGKILL. */
  readonly kill: () => void;
  readonly signal: (signal: NodeJS.Signals) => void;
  /** The first line of stderr that begins so; rejects when the command ends before. */
  readonly told: (beginning: string) => Promise<string>;
  /** Each line of stdout, as it comes. */
  readonly lines: (onLine: (line: string) => void) => void;
}

/** Runs a command of the CLI. */
export function command(
  outbox: Pick<Outbox, 'databaseUrl' | 'clickhouseUrl' | 'slot'>,
  args: string[],
  environment: Record<string, string> = {},
): Running {
  const child = spawn(process.execPath, [CLI, ...args], {
    env: {
      ...CHILD_ENVIRONMENT,
      DATABASE_URL: outbox.databaseUrl,
      CLICKHOUSE_URL: outbox.clickhouseUrl,
      OUTBOX_SLOT: outbox.slot,
      ...environment,
    },
  });
  const done = Promise.all([once(child, 'exit'), text(child.stdout), text(child.stderr)]).then(
    ([[code], stdout, stderr]) => ({ code: code as number | null, stdout, stderr }),
  );
  return {
    pid: child.pid!,
    done,
    told: async (beginning) =>
      new Promise((resolve, reject) => {
        createInterface(child.stderr)
          .on('line', (line) => {
            if (line.startsWith(beginning)) resolve(line);
          })
          .on('close', () => reject(new Error(`the command did not tell "${beginning}"`)));
      }),
    kill: () => void child.kill('SIGKILL'),
    signal: (signal) => void child.kill(signal),
    lines: (onLine) => void createInterface(child.stdout).on('line', onLine),
  };
}
