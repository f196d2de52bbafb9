import { parseArgs } from 'node:util';
import { parseDuration, readWindow } from '../compare/window.ts';
import type { Window } from '../compare/window.ts';

export const VERIFY_HELP = `Usage: pg-outbox-clickhouse verify [options]

Proves that outbox.event and ClickHouse hold the same events, each as often, while both are in use. Takes a snapshot in
Postgres, waits until the streamer has delivered all that it shows, and compares. Reads only.

Options
  --from <time>   dates of events (event_date_time) from here on, included
  --to <time>     up to here, excluded. A time is ISO 8601 (UTC without an offset) or a duration back from now: 90s, 30m,
                  24h, 7d. Without both: all that outbox.event still has
  --wait <time>   how long the streamer may take to deliver (60s). 0 does not wait: what is not delivered counts as missing
  --limit <n>     how many events of each kind are named (20)
  --json          one JSON document on stdout

What it finds
  missing         in Postgres, not in ClickHouse
  double          more often in ClickHouse than in Postgres
  altered         in both, with another date, version, type, environment, trace or text
  extra           in ClickHouse alone, although the outbox still has the events of that time
  quarantined     refused by ClickHouse and set aside; discarded: given up by an operator
  expired         in ClickHouse alone, because the outbox was emptied up to there

Exit codes
  0 nothing missing, double, altered or extra   1 differences, or not comparable   2 wrong usage or configuration
`;

export interface VerifyOptions {
  readonly window: Window;
  readonly waitMs: number;
  readonly limit: number;
  readonly json: boolean;
}

const MAX_LIMIT = 100_000;
const MAX_WAIT_MS = 86_400_000;

/** The options, 'help', or every problem found. */
export function parseVerifyArgs(args: string[], nowMs: number): VerifyOptions | 'help' | { problems: string[] } {
  let values;
  try {
    ({ values } = parseArgs({
      args,
      options: {
        from: { type: 'string' },
        to: { type: 'string' },
        wait: { type: 'string', default: '60s' },
        limit: { type: 'string', default: '20' },
        json: { type: 'boolean', default: false },
        help: { type: 'boolean', short: 'h', default: false },
      },
    }));
  } catch (error) {
    return { problems: [error instanceof Error ? error.message : 'unusable arguments'] };
  }
  if (values.help) return 'help';

  const { window, problems } = readWindow(values, nowMs);
  const waitMs = parseDuration(values.wait) ?? Infinity;
  if (waitMs > MAX_WAIT_MS) problems.push('--wait must be a duration such as 60s, of a day at most');
  const limit = /^\d{1,6}$/.test(values.limit) ? Number(values.limit) : Infinity;
  if (limit > MAX_LIMIT) problems.push(`--limit must be a whole number up to ${MAX_LIMIT}`);
  return problems.length > 0 ? { problems } : { window, waitMs, limit, json: values.json };
}
