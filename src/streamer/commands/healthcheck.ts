import { readSetting } from '../config.ts';
import { parseUsage } from './usage.ts';
import { askHealth } from '../telemetry/health.ts';

const HELP = `Usage: pg-outbox-clickhouse healthcheck

Asks the streamer of this host, on OUTBOX_HEALTH_HOST and OUTBOX_HEALTH_PORT,
whether it delivers or stands by, and prints its answer as JSON. It needs no
other setting. With OUTBOX_HEALTH_PORT=0, no health is served, and it exits with
0.

Exit codes
  0  ready, or not served
  1  not ready, or no answer
  2  wrong usage or configuration
`;

/** `pg-outbox-clickhouse healthcheck`: returns the exit code. Throws OUTBOX_CONFIG_INVALID. */
export async function healthCommand(args: string[], env: NodeJS.ProcessEnv): Promise<number> {
  // what is printed is JSON in any case
  const usage = parseUsage(args, { options: { json: { type: 'boolean', default: false } }, help: HELP });
  if (typeof usage === 'number') return usage;
  const port = Number(readSetting('OUTBOX_HEALTH_PORT', env));
  const say = (document: unknown): void => void process.stdout.write(`${JSON.stringify(document)}\n`);
  if (port === 0) {
    say({ served: false, detail: 'OUTBOX_HEALTH_PORT is 0' });
    return 0;
  }
  const host = String(readSetting('OUTBOX_HEALTH_HOST', env));
  const readiness = await askHealth(port, /^(\*|0\.0\.0\.0|::)$/.test(host) ? undefined : host);
  say(readiness ?? { ready: false, detail: `no answer on port ${port}` });
  return readiness?.ready === true ? 0 : 1;
}
