import { OutboxError } from '../../errors.ts';
import { readConfig } from '../config.ts';
import { Retention } from '../retention/retention.ts';
import type { Emptied, RetentionReport } from '../retention/run.ts';
import { parseUsage } from './usage.ts';

const HELP = `Usage: pg-outbox-clickhouse retention [options]

Removes events from outbox.event that are older than OUTBOX_RETENTION_DAYS and delivered by every slot of outbox.stream.
\`run\` does it by itself, once an hour; this is for who prefers a scheduler, with OUTBOX_RETENTION_DAYS=0 for \`run\`. No producer
waits for it: what is locked by others stays until the next time.

Options
  --dry-run   removes nothing, and says what it would remove
  --json      one JSON document on stdout

Exit codes
  0 done, or nothing to do   1 expired events stay, or failed   2 wrong usage or configuration
`;

/** `pg-outbox-clickhouse retention`: returns the exit code. Throws OUTBOX_CONFIG_INVALID, OUTBOX_RETENTION_BUSY, OUTBOX_PG_*. */
export async function retentionCommand(args: string[], env: NodeJS.ProcessEnv): Promise<number> {
  const usage = parseUsage(args, {
    options: { 'dry-run': { type: 'boolean', default: false }, json: { type: 'boolean', default: false } },
    help: HELP,
  });
  if (typeof usage === 'number') return usage;
  const { 'dry-run': isDry, json } = usage.values;
  const config = readConfig(env);
  if (config.retentionDays === 0)
    throw new OutboxError('OUTBOX_CONFIG_INVALID', {
      problems: ['OUTBOX_RETENTION_DAYS is 0, which keeps everything; give this command the days'],
    });
  const report = await new Retention(config).run({ signal: new AbortController().signal, isDry });
  process.stdout.write(json ? `${JSON.stringify({ isDry, ...report }, null, 2)}\n` : print(report, isDry));
  return report.left === undefined ? 0 : 1;
}

function print({ emptied, left, comeRound, cutoffMs, rows, bytes, oldestMs }: RetentionReport, isDry: boolean): string {
  const removed = ({ table, by, rows: count, bytes: freed }: Emptied): string =>
    `${table}: ${isDry ? 'would remove' : 'removed'} ${count} events by ${by}${freed > 0 ? `, ${freed} bytes` : ''}`;
  const lines = [
    ...emptied.map(removed),
    ...comeRound.map((table) => `${table}: ${new OutboxError('OUTBOX_RETENTION_RING').message}`),
    ...(left === undefined ? [] : [`${left.table}: expired events stay: ${left.reason}`]),
  ];
  if (lines.length === 0) lines.push(`nothing recorded before ${instant(cutoffMs)} is to be removed yet`);
  const oldest = oldestMs === undefined ? 'no events' : `the oldest event of ${instant(oldestMs)}`;
  return `${lines.join('\n')}\noutbox.event: about ${rows} events, ${bytes} bytes, ${oldest}\n`;
}

function instant(ms: number): string {
  return Number.isFinite(ms) && Math.abs(ms) <= 8.64e15 ? new Date(ms).toISOString() : String(ms);
}
