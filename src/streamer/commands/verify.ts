import { Comparison, deliveredSnapshot, type ComparisonOptions, type Progress } from '../compare/comparison.ts';
import { SNAPSHOT_PARAMETERS } from '../compare/outbox.ts';
import { parseDuration, readWindow, type Window } from '../compare/window.ts';
import { readConfig, type Config } from '../config.ts';
import { ClickHouse, LONG_SELECT_MS } from '../clickhouse/client.ts';
import { eventTimeOf } from '../clickhouse/event-time.ts';
import { scopeOf } from '../ledger/shares.ts';
import { ERASE_LOCK, eraseBusy, tryLockShared } from '../source/advisory-lock.ts';
import { Database } from '../source/database.ts';
import { checkEventTable } from '../source/event-table.ts';
import { checkMigrated } from '../source/server.ts';
import { ProgressDisplay, PROGRESS_HELP, PROGRESS_OPTION, readProgress } from './progress.ts';
import { keepHeapSmall } from './small-heap.ts';
import { say } from './terminal.ts';
import { parseUsage, refusePositionals } from './usage.ts';
import { printManifests, verifyManifests } from './verify-manifests.ts';
import { Findings, printReport, reportFor, type VerifyReport } from './verify-report.ts';

const HELP = `Usage: pg-outbox-clickhouse verify [options]
       pg-outbox-clickhouse verify --manifests [--keys PATH] [--anchor FILE]

Proves that outbox.event and ClickHouse hold the same events, each as often,
while both are in use. Takes a snapshot in Postgres, waits until the streamer
has delivered all that it shows, and compares. Reads only.

Options
  --from <time>      dates of events (event_date_time) from here on, included
  --to <time>        up to here, excluded. A time is ISO 8601 (UTC without an
                     offset) or a duration back from now: 90s, 30m, 24h, 7d.
                     Without both: all that outbox.event still has
  --wait <time>      how long the streamer may take to deliver (60s). 0 does not
                     wait: what is not delivered counts as missing
  --former           after \`reshard\`: compare the whole outbox, with what former
                     shares have delivered. OUTBOX_CLICKHOUSE_TABLE must then
                     have the rows of all shares, former ones too. Without it,
                     these events are counted and not compared
  --limit <n>        how many events of each kind are named (20)
  --progress <time>  ${PROGRESS_HELP}
  --json             one JSON document on stdout

Years later (OUTBOX_MANIFESTS=on; docs/auditors.md)
  --manifests        recomputes the manifests in ClickHouse, hour by hour: what
                     was altered, removed or added since they were made. --from
                     and --to are then of recorded_at. Without DATABASE_URL
                     Postgres is not asked, which names events while it has them
  --keys <path>      the public keys that signed them: a PEM file, or a folder
  --anchor <file>    archived heads of the chain: the streamer’s log as it is,
                     or lines of source, number and hash

What it finds
  missing      in Postgres, not in ClickHouse
  double       more often in ClickHouse than in Postgres
  altered      in both, with another date, version, type, environment, trace or
               text
  extra        in ClickHouse alone, although the outbox still has the events of
               that time
  quarantined  rejected by ClickHouse and in quarantine; discarded: given up by
               an operator
  expired      in ClickHouse alone, because the outbox was emptied up to there
  mistyped     in ClickHouse with another event_context than the table’s DEFAULT
               makes of event_context_text

Where the outbox is delivered in shares, OUTBOX_SHARD says which is compared.
Without it, all are compared as one with the table OUTBOX_CLICKHOUSE_TABLE,
which must then have the rows of all, as events_all has on a cluster.

It does not compare the columns source, lsn, seq, committed_at, delivered_at and
origin: Postgres does not have them.

Exit codes
  0  nothing missing, double, altered, extra or mistyped; with --manifests:
     everything is as they say
  1  differences, or nothing to compare
  2  wrong usage or configuration
`;

/** Stands for one that is not asked. */
const NO_DATABASE = 'postgres://nobody@localhost/none';
const MAX_LIMIT = 100_000;
const MAX_WAIT_MS = 86_400_000;

export interface VerifyOptions {
  readonly window: Window;
  readonly waitMs: number;
  readonly limit: number;
  /** See scopeOf. */
  readonly withFormers?: boolean;
}

/** `pg-outbox-clickhouse verify`: returns the exit code. Throws OutboxErrors. */
export async function verifyCommand(
  args: string[],
  env: Readonly<Record<string, string | undefined>>,
): Promise<number> {
  const nowMs = Date.now();
  const usage = parseUsage(args, {
    options: {
      from: { type: 'string' },
      to: { type: 'string' },
      wait: { type: 'string', default: '60s' },
      limit: { type: 'string', default: '20' },
      former: { type: 'boolean', default: false },
      progress: PROGRESS_OPTION,
      manifests: { type: 'boolean', default: false },
      keys: { type: 'string', default: '' },
      anchor: { type: 'string', default: '' },
      json: { type: 'boolean', default: false },
    },
    help: HELP,
    check: ({ positionals, values }) =>
      refusePositionals({ positionals }) ??
      (!values.manifests && (values.keys !== '' || values.anchor !== '')
        ? '--keys and --anchor are for --manifests'
        : readOptions(values, nowMs).problems.join('\n') || undefined),
  });
  if (typeof usage === 'number') return usage;
  const { json, manifests, keys, anchor } = usage.values;
  const options = { ...readOptions(usage.values, nowMs), withFormers: usage.values.former };
  const asksPostgres = Boolean(env['DATABASE_URL'] || env['DATABASE_URL_FILE']);
  // an auditor may have none
  const config = readConfig(manifests && !asksPostgres ? { ...env, DATABASE_URL: NO_DATABASE } : env);
  keepHeapSmall();
  const display = new ProgressDisplay(process.stderr, options.progressMs);
  if (manifests) {
    const checked = await verifyManifests(config, { ...options, keys, anchor, asksPostgres }, (progress) =>
      display.show(progress),
    ).finally(() => display.close());
    if (json) process.stdout.write(`${JSON.stringify(checked, null, 2)}\n`);
    else say(printManifests(checked));
    return checked.intact ? 0 : 1;
  }
  const report = await verify(config, options, (progress) => display.show(progress)).finally(() => display.close());
  const told = reportFor(config.schema, report);
  if (json) process.stdout.write(`${JSON.stringify(told, null, 2)}\n`);
  else say(printReport(told, config.schema));
  return report.identical ? 0 : 1;
}

/** The options, and every problem with them. */
function readOptions(
  values: { from?: string | undefined; to?: string | undefined; wait: string; limit: string; progress: string },
  nowMs: number,
): VerifyOptions & { progressMs: number; problems: string[] } {
  const { window, problems } = readWindow(values, nowMs);
  const waitMs = parseDuration(values.wait) ?? Infinity;
  if (waitMs > MAX_WAIT_MS) problems.push('--wait must be a duration such as 60s, of a day at most');
  const limit = /^\d{1,6}$/.test(values.limit) ? Number(values.limit) : Infinity;
  if (limit > MAX_LIMIT) problems.push(`--limit must be a whole number up to ${MAX_LIMIT}`);
  const progress = readProgress(values.progress);
  return { window, waitMs, limit, progressMs: progress.everyMs, problems: [...problems, ...progress.problems] };
}

/** Compares outbox.event with ClickHouse. Throws OUTBOX_PG_*, OUTBOX_CH_*, OUTBOX_DETACHED, OUTBOX_SYSTEM_CHANGED, OUTBOX_VERIFY_*. */
export async function verify(
  config: Config,
  options: VerifyOptions,
  onProgress: (progress: Progress) => void = () => undefined,
): Promise<VerifyReport> {
  const { slot } = config;
  const { window, waitMs } = options;
  const clickhouse = new ClickHouse(config, LONG_SELECT_MS);
  const opened: Database[] = [];
  const connect = async (forSnapshots: boolean): Promise<Database> => {
    const long = { queryTimeoutMs: 0, parameters: SNAPSHOT_PARAMETERS };
    const db = await Database.connect(config, forSnapshots ? long : {}, () => undefined);
    opened.push(db);
    return db;
  };
  try {
    const [first, second, ask] = [await connect(true), await connect(true), await connect(false)];
    await checkMigrated(ask);
    await checkEventTable(ask);
    if (!(await tryLockShared(ask, ERASE_LOCK))) throw await eraseBusy(ask);
    const scope = await scopeOf(ask, slot, options.withFormers);
    const comparing: ComparisonOptions = {
      first,
      second,
      ask,
      ...scope,
      window,
      waitMs,
      onProgress,
      clickhouse,
      table: config.clickhouseTable,
      dates: await eventTimeOf(clickhouse, config.clickhouseTable),
    };
    const { snapshot, reached } = await deliveredSnapshot(comparing);
    const comparison = new Comparison(comparing, snapshot);
    const findings = new Findings(options.limit);
    for await (const difference of comparison.differences()) findings.add(difference);
    const mistyped = await comparison.mistyped();
    for await (const row of mistyped ?? []) findings.addMistyped(row);
    await snapshot.close();
    const { lsn } = snapshot.horizon;
    const isTyped = mistyped !== undefined;
    return findings.report(comparison.totals, {
      source: scope.source,
      window,
      snapshotLsn: lsn,
      deliveredLsn: reached,
      isTyped,
    });
  } finally {
    await Promise.all([clickhouse.close(), ...opened.map(async (db) => db.close())]);
  }
}
