import { ERRORS } from '../../errors.ts';
import { readWindow } from '../compare/window.ts';
import { readConfig } from '../config.ts';
import { repair, type RepairReport } from '../repair/repair.ts';
import { ProgressDisplay, PROGRESS_HELP, PROGRESS_OPTION, readProgress } from './progress.ts';
import { keepHeapSmall } from './small-heap.ts';
import { say } from './terminal.ts';
import { parseUsage, refusePositionals } from './usage.ts';

const HELP = `Usage: pg-outbox-clickhouse repair [options]

Delivers what outbox.event has and ClickHouse lacks, each event once. If the
stream itself has a gap (the slot is lost, invalidated or made again, or the
publication was changed), it takes the slot away, makes a new one and a snapshot
of all that the new slot will not stream, compares that with ClickHouse, and
sends what is missing. A streamer waits meanwhile and goes on by itself. Without
a gap it works beside the streamer. If it is interrupted, run it again: what was
sent is there.

After \`detach\` and an upgrade or a move of the database it makes the slot on
this server, and sends what was committed since.

What was emptied from the outbox cannot be repaired, and what other shares have
delivered before \`reshard\` is not: it is counted. Rows in ClickHouse that
Postgres does not have, or has otherwise, are counted and left alone; \`verify\`
names them.

Options
  --from <time>, --to <time>
                     events of these dates only (event_date_time), as verify
                     takes them; where the stream has no gap
  --new-slot         make a new slot although the stream seems to have no gap:
                     for a streamer that stops all the same
  --moved            the ledger was written for another server, which was not
                     detached (OUTBOX_SYSTEM_CHANGED), and from which nobody
                     delivers any more
  --send-again       send events, too, that ClickHouse has under another source
                     (OUTBOX_REPAIR_OTHER_SOURCE), or may have in detached parts
                     (OUTBOX_CH_PARTS_DETACHED): they are there twice then
  --dry-run          say what would be done, and how many events are missing;
                     change nothing. What a streamer or an interrupted repair is
                     still inserting may be counted
  --progress <time>  ${PROGRESS_HELP}
  --json             one JSON document on stdout

Exit codes
  0  nothing is missing any more
  1  failed, events are in quarantine, or views may lack some
  2  wrong usage or configuration
`;

/** `pg-outbox-clickhouse repair`: returns the exit code. Throws OutboxErrors. */
export async function repairCommand(args: string[], env: NodeJS.ProcessEnv): Promise<number> {
  const nowMs = Date.now();
  const usage = parseUsage(args, {
    options: {
      'dry-run': { type: 'boolean', default: false },
      'new-slot': { type: 'boolean', default: false },
      'send-again': { type: 'boolean', default: false },
      moved: { type: 'boolean', default: false },
      from: { type: 'string' },
      to: { type: 'string' },
      progress: PROGRESS_OPTION,
      json: { type: 'boolean', default: false },
    },
    help: HELP,
    check: ({ positionals, values }) =>
      refusePositionals({ positionals }) ??
      ([...readWindow(values, nowMs).problems, ...readProgress(values.progress).problems].join('\n') || undefined),
  });
  if (typeof usage === 'number') return usage;
  const { 'dry-run': dryRun, 'new-slot': newSlot, 'send-again': sendAgain, moved, json } = usage.values;
  const { window } = readWindow(usage.values, nowMs);
  const config = readConfig(env);
  keepHeapSmall();
  const display = new ProgressDisplay(process.stderr, readProgress(usage.values.progress).everyMs);
  const report = await repair(config, { dryRun, newSlot, sendAgain, moved, window }, (progress) =>
    display.show(progress),
  ).finally(() => display.close());
  if (json) process.stdout.write(`${JSON.stringify(report, null, 2)}\n`);
  else say(print(report, dryRun));
  return report.quarantined + report.viewsUnproven === 0 ? 0 : 1;
}

function print(report: RepairReport, isDry: boolean): string {
  const lines = [
    report.gap === null
      ? 'the stream has no gap'
      : `${report.gap}: ${isDry ? 'a new slot would be made' : 'a new slot was made'}`,
    ...counts({ missing: report.missing, ...(isDry ? {} : { sent: report.sent, quarantined: report.quarantined }) }),
  ];
  const { altered, double, extra, viewsUnproven, ofFormers } = report;
  if (viewsUnproven > 0) {
    const { happened, next } = ERRORS.OUTBOX_CH_VIEWS_UNPROVEN;
    lines.push(`OUTBOX_CH_VIEWS_UNPROVEN: ${viewsUnproven} rows. ${happened}`, `Next: ${next}`);
  }
  if (ofFormers > 0)
    lines.push(
      `not compared: ${ofFormers.toLocaleString('en-US')} events that other slots deliver or have delivered, before or after \`reshard\``,
      'Next: run `verify --former`, which compares them.',
    );
  if (altered + double + extra > 0)
    lines.push('left alone, and named by verify:', ...counts({ altered, double, extra }));
  return `${lines.join('\n')}\n`;
}

function counts(of: Readonly<Record<string, number>>): string[] {
  const width = Math.max(...Object.keys(of).map((name) => name.length));
  return Object.entries(of).map(([name, count]) => `  ${name.padEnd(width)}  ${count.toLocaleString('en-US')}`);
}
