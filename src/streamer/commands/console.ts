import { readFileSync } from 'node:fs';
import { OutboxError } from '../../errors.ts';
import { readConfig, readConsoleConfig } from '../config.ts';
import { runConsole } from './console/run.ts';
import { keepHeapSmall } from './small-heap.ts';
import { parseUsage } from './usage.ts';

const HELP = `Usage: pg-outbox-clickhouse console

Serves a web page until Ctrl-C: whether events flow and why not, charts, a
search over the events, the quarantine, and what doctor and verify find. It asks
both databases itself, so it works when the streamer does not.

It listens on http://127.0.0.1:8090 unless OUTBOX_CONSOLE_HOST and
OUTBOX_CONSOLE_PORT say otherwise. On another address than a loopback one it
needs OUTBOX_CONSOLE_TOKEN, which readers type in. Without a token it changes
nothing. It shows what events contain only with OUTBOX_CONSOLE_PAYLOADS=on.

Exit codes
  0  stopped
  1  it cannot listen
  2  wrong usage or configuration
`;

/** `pg-outbox-clickhouse console`: returns the exit code. Throws OUTBOX_CONFIG_INVALID and OUTBOX_CONSOLE_PORT. */
export async function consoleCommand(args: string[], env: NodeJS.ProcessEnv): Promise<number> {
  const usage = parseUsage(args, { options: {}, help: HELP });
  if (typeof usage === 'number') return usage;
  const [config, settings] = together(
    () => readConfig(env),
    () => readConsoleConfig(env),
  );
  const { version } = JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')) as {
    version: string;
  };
  keepHeapSmall();
  await runConsole(config, settings, env, version);
  return 0;
}

/** All problems of both are told at once. */
function together<A, B>(first: () => A, second: () => B): [A, B] {
  const problems: string[] = [];
  const attempt = <T>(read: () => T): T | undefined => {
    try {
      return read();
    } catch (error) {
      if (!(error instanceof OutboxError) || error.code !== 'OUTBOX_CONFIG_INVALID') throw error;
      problems.push(...error.problems);
      return undefined;
    }
  };
  const [a, b] = [attempt(first), attempt(second)];
  if (a === undefined || b === undefined) throw new OutboxError('OUTBOX_CONFIG_INVALID', { problems });
  return [a, b];
}
