import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { readConfig } from '../config.ts';
import { parseUsage } from './usage.ts';
import { printFlow, printFlowLine } from './status/print.ts';
import { FlowWatch } from './status/report.ts';
import type { FlowReport } from './status/report.ts';

const HELP = `Usage: pg-outbox-clickhouse status [--watch [seconds]] [--json]

Says whether events flow, how late they are, what is in the way, and what to do. Asks both databases from any host that has their
URLs, needs nothing of the streamer, and says what it can while either is down. Changes nothing.

  waiting      events committed since the last that is in ClickHouse: counted when few, estimated when many
  standing by  other connections of streamers to this database
  usual rate   of WAL, on the average since Postgres' statistics were reset

Options
  --watch [seconds]  again every two seconds, or as many as said, until SIGINT: redrawn on a terminal, otherwise a line each
  --json             one JSON document a look, on one line with --watch

Exit codes
  0 events flow   1 they do not   2 wrong usage or configuration
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
  const flow = new FlowWatch(readConfig(env));
  try {
    let report = await flow.look();
    process.stdout.write(present(report, json, isRepeated));
    if (isRepeated) {
      const stop = new AbortController();
      for (const signal of ['SIGINT', 'SIGTERM']) void once(process, signal).then(() => stop.abort());
      const pauseMs = Number(usage.positionals[0] ?? WATCH_SECONDS) * 1000;
      for (;;) {
        await sleep(pauseMs, undefined, { signal: stop.signal }).catch(() => undefined);
        if (stop.signal.aborted) break;
        report = await flow.look();
        process.stdout.write(present(report, json, true));
      }
    }
    return report.flowing ? 0 : 1;
  } finally {
    await flow.close();
  }
}

function present(report: FlowReport, json: boolean, isRepeated: boolean): string {
  if (json) return `${JSON.stringify(report, null, isRepeated ? 0 : 2)}\n`;
  if (!isRepeated) return printFlow(report);
  return process.stdout.isTTY ? `${HOME_AND_CLEAR}${printFlow(report)}` : printFlowLine(report);
}
