import { Comparison, deliveredSnapshot } from '../compare/comparison.ts';
import type { ComparisonOptions, Progress } from '../compare/comparison.ts';
import { SNAPSHOT_PARAMETERS } from '../compare/outbox.ts';
import { readConfig } from '../config.ts';
import type { Config } from '../config.ts';
import { ClickHouse } from '../clickhouse/client.ts';
import { sourceOf } from '../ledger/row.ts';
import { Database } from '../source/database.ts';
import { checkServer } from '../source/server.ts';
import { parseVerifyArgs, VERIFY_HELP } from './verify-args.ts';
import type { VerifyOptions } from './verify-args.ts';
import { Findings, printReport, ProgressLine } from './verify-report.ts';
import type { VerifyReport } from './verify-report.ts';

/** The longest silence of ClickHouse; while it works on a statement it gives signs of life more often. */
const SILENCE_MS = 10 * 60_000;
const TICK_MS = 1000;

/** `pg-outbox-clickhouse verify`: returns the exit code. Throws OutboxErrors. */
export async function verifyCommand(
  args: string[],
  env: Readonly<Record<string, string | undefined>>,
): Promise<number> {
  const options = parseVerifyArgs(args, Date.now());
  if (options === 'help') {
    process.stdout.write(VERIFY_HELP);
    return 0;
  }
  if ('problems' in options) {
    process.stderr.write(`${options.problems.join('\n')}\n\n${VERIFY_HELP}`);
    return 2;
  }
  const line = new ProgressLine(process.stderr);
  let latest: Progress = { step: 'waiting' };
  // the seconds go on while a server works
  const ticker = setInterval(() => line.show(latest), TICK_MS);
  try {
    const report = await verify(readConfig(env), options, (progress) => {
      latest = progress;
    });
    line.clear();
    process.stdout.write(options.json ? `${JSON.stringify(report, null, 2)}\n` : printReport(report));
    return report.identical ? 0 : 1;
  } finally {
    line.clear();
    clearInterval(ticker);
  }
}

/** Compares outbox.event with ClickHouse. Throws OUTBOX_PG_*, OUTBOX_CH_*, OUTBOX_SYSTEM_CHANGED, OUTBOX_VERIFY_*. */
export async function verify(
  config: Config,
  options: VerifyOptions,
  onProgress: (progress: Progress) => void = () => undefined,
): Promise<VerifyReport> {
  const { slot, databaseUrl } = config;
  const { window, waitMs } = options;
  const clickhouse = new ClickHouse(config.clickhouseUrl, SILENCE_MS);
  const opened: Database[] = [];
  const connect = async (forSnapshots: boolean): Promise<Database> => {
    const long = { queryTimeoutMs: 0, parameters: SNAPSHOT_PARAMETERS };
    const db = await Database.connect(databaseUrl, forSnapshots ? long : {}, () => undefined);
    opened.push(db);
    return db;
  };
  try {
    const [first, second, ask] = [await connect(true), await connect(true), await connect(false)];
    await checkServer(ask);
    const source = await sourceOf(ask, slot);
    const comparing: ComparisonOptions = {
      first,
      second,
      ask,
      slot,
      window,
      waitMs,
      onProgress,
      clickhouse,
      source,
      table: config.clickhouseTable,
    };
    const { snapshot, reached } = await deliveredSnapshot(comparing);
    const comparison = new Comparison(comparing, snapshot);
    const findings = new Findings(options.limit);
    for await (const difference of comparison.differences()) findings.add(difference);
    await snapshot.end();
    const { lsn } = snapshot.horizon;
    return findings.report(comparison.totals, { source, window, snapshotLsn: lsn, deliveredLsn: reached });
  } finally {
    await Promise.all([clickhouse.close(), ...opened.map(async (db) => db.close())]);
  }
}
