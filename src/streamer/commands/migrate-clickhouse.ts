import { readFile } from 'node:fs/promises';
import { OutboxError } from '../../errors.ts';
import { ClickHouse } from '../clickhouse/client.ts';
import { checkCluster, clustersOf } from '../clickhouse/cluster.ts';
import { literal } from '../clickhouse/literal.ts';
import { inspectTable } from '../clickhouse/table.ts';
import { checkTarget, unsuitable } from '../clickhouse/target.ts';
import { refuseOld, versionOf } from '../clickhouse/version.ts';
import { MIGRATIONS } from '../source/event-table.ts';
import { quoted } from './doctor/subjects.ts';

/** Says what was done, a line at a time. */
export type Report = (line: string) => void;

const EVENTS = new URL('clickhouse/0000_events.sql', MIGRATIONS);
const TIMEOUT_MS = 60_000;

/**
 * What a table needs on a cluster that it does not need on one server. A path by names lets a host that is added later find its
 * replicas; a week of tokens outlasts a streamer that is down over a weekend.
 */
const ON_CLUSTER: readonly (readonly [string, string])[] = [
  ['ENGINE = MergeTree', "ENGINE = ReplicatedMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}')"],
  [
    'non_replicated_deduplication_window = 10000,',
    'replicated_deduplication_window = 10000, replicated_deduplication_window_seconds = 604800, min_compressed_bytes_to_fsync_after_fetch = 1,',
  ],
];

export interface ClickHouseTarget {
  readonly table: string;
  /** Empty: one server. */
  readonly cluster?: string;
}

/**
 * Brings ClickHouse to the newest schema. Idempotent, and safe to run twice at once. On a cluster, the table is replicated, each shard
 * has one, and `<table>_all` reads all of them. Throws OutboxErrors OUTBOX_CH_*.
 */
export async function migrateClickHouse(
  url: string,
  { table, cluster = '' }: ClickHouseTarget,
  report: Report,
): Promise<void> {
  const clickhouse = new ClickHouse(url, TIMEOUT_MS);
  try {
    refuseOld(await versionOf(clickhouse));
    const text = await readFile(EVENTS, 'utf8');
    if (cluster === '') {
      await clickhouse.command(text, { table });
      await checkTable(clickhouse, table);
      report(`ClickHouse: the table "${table}" is up to date`);
      const [other] = await clustersOf(clickhouse);
      if (other !== undefined && !(await checkTarget(clickhouse, table)).isReplicated)
        report(
          `ClickHouse: this server belongs to the cluster "${other}", and the table is on this server alone: OUTBOX_CLICKHOUSE_CLUSTER=${other} makes it on all (docs/clusters.md)`,
        );
      return;
    }
    await checkCluster(clickhouse, cluster, table);
    await clickhouse.command(onCluster(text, cluster), { table });
    await checkTable(clickhouse, table);
    report(`ClickHouse: the table "${table}" is up to date on the cluster "${cluster}"`);
    const all = `${table}_all`;
    await clickhouse.command(
      `CREATE TABLE IF NOT EXISTS ${quoted(all)} ON CLUSTER ${quoted(cluster)} AS ${quoted(table)}
         ENGINE = Distributed(${literal(cluster)}, currentDatabase(), ${literal(table)})`,
    );
    report(`ClickHouse: "${all}" reads the table on every shard`);
  } finally {
    await clickhouse.close();
  }
}

function onCluster(text: string, cluster: string): string {
  // a parameter cannot stand for a cluster
  const name = '{table:Identifier}';
  let changed = text.replace(name, () => `${name} ON CLUSTER ${quoted(cluster)}`);
  for (const [one, other] of ON_CLUSTER) changed = changed.replace(one, () => other);
  return changed;
}

/** What the streamer asks. Of a column that is missing it names the ALTER, too. */
async function checkTable(clickhouse: ClickHouse, name: string): Promise<void> {
  const { problems } = await inspectTable(clickhouse, name).catch((error: unknown) => {
    // CREATE TABLE IF NOT EXISTS was answered well, and there is none: the name is taken by one that is detached
    throw error instanceof OutboxError && error.code === 'OUTBOX_CH_NOT_MIGRATED'
      ? new OutboxError('OUTBOX_CH_TABLE_DETACHED', { detail: `the table "${name}" is detached in ClickHouse` })
      : error;
  });
  if (problems.length === 0) return void (await checkTarget(clickhouse, name));
  throw unsuitable(
    name,
    await Promise.all(
      problems.map(async (problem) =>
        problem.missing === undefined
          ? problem
          : { ...problem, alter: `ADD COLUMN ${await definitionOf(problem.missing)}` },
      ),
    ),
  );
}

/** A column as the migration makes it. */
export async function definitionOf(column: string): Promise<string> {
  const text = await readFile(EVENTS, 'utf8');
  // it ends where the next line that is indented as much, or the list, begins
  const lines = new RegExp(`^    (${column} [^]*?),?\\n(?:    \\S|\\))`, 'm').exec(text)?.[1] ?? column;
  return lines.replaceAll(/\s+/g, ' ');
}
