import { OutboxError } from '../../errors.ts';
import { readConfig } from '../config.ts';
import { Retention } from '../retention/retention.ts';
import type { Removed, RetentionReport } from '../retention/removal.ts';
import { say } from './terminal.ts';
import { parseUsage } from './usage.ts';

const HELP = `Usage: pg-outbox-clickhouse retention [options]

Removes events from outbox.event that are older than OUTBOX_RETENTION_DAYS and
delivered by every slot of outbox.stream. \`run\` does it by itself, once an hour.
Use this to run it from a scheduler instead, with OUTBOX_RETENTION_DAYS=0 for
\`run\`. No producer waits for it: what others have locked stays until the next
time.

Options
  --dry-run  remove nothing, and show what would be removed
  --json     one JSON document on stdout

Exit codes
  0  done, or nothing to do
  1  expired events stay, or failed
  2  wrong usage or configuration
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
  if (json) process.stdout.write(`${JSON.stringify({ isDry, ...report }, null, 2)}\n`);
  else say(print(report, isDry, config.schema));
  return report.kept === undefined ? 0 : 1;
}

function print(report: RetentionReport, isDry: boolean, schema: string): string {
  const { removed, kept, cutoffMs, rows, bytes, oldestMs } = report;
  const line = ({ table, rows: count, bytes: freed }: Removed): string =>
    `${table}: ${isDry ? 'would remove' : 'removed'} ${grouped(count)} events, ${grouped(freed)} bytes`;
  const lines = [
    ...removed.map(line),
    ...(kept === undefined ? [] : [`${kept.table}: expired events stay: ${kept.reason}`]),
  ];
  if (lines.length === 0) lines.push(`no event recorded before ${instant(cutoffMs)} can be removed yet`);
  const oldest = oldestMs === undefined ? 'no events' : `the oldest event of ${instant(oldestMs)}`;
  return `${lines.join('\n')}\n${schema}.event: about ${grouped(rows)} events, ${grouped(bytes)} bytes, ${oldest}\n`;
}

function grouped(number: number): string {
  return number.toLocaleString('en-US');
}

function instant(ms: number): string {
  return Number.isFinite(ms) && Math.abs(ms) <= 8.64e15 ? new Date(ms).toISOString() : String(ms);
}
