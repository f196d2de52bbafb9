import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import type { Outbox } from './outbox.ts';

const CLI = new URL('../../src/streamer/cli.ts', import.meta.url).pathname;

/** Runs a command of the CLI; `kill` ends it with SIGKILL. */
export function command(
  outbox: Outbox,
  args: string[],
  environment: Record<string, string> = {},
): { done: Promise<{ code: number | null; stdout: string; stderr: string }>; kill: () => void } {
  const child = spawn(process.execPath, [CLI, ...args], {
    env: {
      PATH: process.env['PATH'] ?? '',
      DATABASE_URL: outbox.databaseUrl,
      CLICKHOUSE_URL: outbox.clickhouseUrl,
      OUTBOX_SLOT: outbox.slot,
      ...environment,
    },
  });
  const done = Promise.all([once(child, 'exit'), text(child.stdout), text(child.stderr)]).then(
    ([[code], stdout, stderr]) => ({ code: code as number | null, stdout, stderr }),
  );
  return { done, kill: () => void child.kill('SIGKILL') };
}
