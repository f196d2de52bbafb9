import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { readConfig } from '../config.ts';
import { parseUsage } from './usage.ts';
import { tellWaking } from './progress.ts';
import { columnsOf, fold } from './terminal.ts';
import { printFlow, printFlowLine } from './status/print.ts';
import type { FlowReport } from './status/report.ts';
import { FlowReporter } from './status/reporter.ts';

const HELP = `Usage: pg-outbox-clickhouse status [--watch [seconds]] [--json]

Shows whether events flow, how late they are, what is in the way, and what to
do. It asks both databases, works on any host that has their URLs, and shows
what it can while either is down. It changes nothing.

  waiting      age of the oldest event that the streamer has read and not
               delivered, and WAL that is not delivered
  standing by  other streamers that are connected to this database
  slot         WAL that may still be written before the slot is lost, and how
               long that lasts: with --watch at the rate of the last minute,
               otherwise at Postgres' average rate
  open         the transaction that has written and is open for longest, from a
               minute on: the slot keeps WAL since it began

Options
  --watch [seconds]  repeat every 2 seconds (or every N) until Ctrl-C; one line
                     each, unless stdout is a terminal
  --json             one JSON document a report, on one line with --watch

Exit codes
  0  events flow
  1  they do not, or Postgres does not tell
  2  wrong usage or configuration
`;

const WATCH_SECONDS = 2;
const HOME_AND_CLEAR = '\u001B[H\u001B[J';

/** `pg-outbox-clickhouse status`: returns the exit code. Throws OUTBOX_CONFIG_INVALID. */
export async function statusCommand(args: string[], env: NodeJS.ProcessEnv): Promise<number> {
  const usage = parseUsage(args, {
    options: { watch: { type: 'boolean', default: false }, json: { type: 'boolean', default: false } },
    help: HELP,
    check: ({ values, positionals }) =>
      positionals.length === 0 || (values.watch && positionals.length === 1 && /^[1-9]\d{0,3}$/.test(positionals[0]!))
        ? undefined
        : '--watch takes a whole number of seconds, up to 9999; there are no other arguments',
  });
  if (typeof usage === 'number') return usage;
  const { json, watch: isRepeated } = usage.values;
  const config = readConfig(env);
  const present = presenter(config.schema, json);
  const flow = new FlowReporter(config, tellWaking);
  try {
    let report = await flow.report();
    process.stdout.write(present(report, isRepeated));
    if (isRepeated) {
      const stop = new AbortController();
      for (const signal of ['SIGINT', 'SIGTERM']) void once(process, signal).then(() => stop.abort());
      const pauseMs = Number(usage.positionals[0] ?? WATCH_SECONDS) * 1000;
      for (;;) {
        await sleep(pauseMs, undefined, { signal: stop.signal }).catch(() => undefined);
        if (stop.signal.aborted) break;
        report = await flow.report();
        process.stdout.write(present(report, true));
      }
    }
    return report.flowing === true ? 0 : 1;
  } finally {
    await flow.close();
  }
}

function presenter(schema: string, json: boolean): (report: FlowReport, isRepeated: boolean) => string {
  return (report, isRepeated) => {
    if (json) return `${JSON.stringify(report, null, isRepeated ? 0 : 2)}\n`;
    const screen = fold(printFlow(report, schema), columnsOf(process.stdout));
    if (!isRepeated) return screen;
    return process.stdout.isTTY ? `${HOME_AND_CLEAR}${screen}` : printFlowLine(report);
  };
}
