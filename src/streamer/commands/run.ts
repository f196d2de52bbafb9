import { readConfig } from '../config.ts';
import { run } from '../run.ts';
import { keepHeapSmall } from './small-heap.ts';
import { parseUsage } from './usage.ts';

const HELP = `Usage: pg-outbox-clickhouse run

Streams events from Postgres to ClickHouse until SIGTERM or SIGINT, which stop
it gracefully; a second one ends it at once. Another streamer with the same
OUTBOX_SLOT stands by. When a database fails, it connects again and goes on.

Exit codes
  0  stopped gracefully
  1  the stop took too long, or the health port is taken
  2  wrong usage or configuration
`;

/** `pg-outbox-clickhouse run`: returns the exit code. Throws OUTBOX_CONFIG_INVALID and OUTBOX_HEALTH_PORT. */
export async function runCommand(args: string[], env: NodeJS.ProcessEnv): Promise<number> {
  const usage = parseUsage(args, { options: {}, help: HELP });
  if (typeof usage === 'number') return usage;
  const config = readConfig(env);
  // digests of events pass through
  if (config.manifests === 'on') keepHeapSmall();
  return run(config, env);
}
