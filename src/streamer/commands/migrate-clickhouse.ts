import { OutboxError } from '../../errors.ts';
import { absenceOf } from '../clickhouse/absence.ts';
import type { ClickHouseAccess } from '../clickhouse/access.ts';
import { ClickHouse } from '../clickhouse/client.ts';
import { checkCluster, clustersOf } from '../clickhouse/cluster.ts';
import { literal } from '../clickhouse/literal.ts';
import { readPolicy } from '../clickhouse/retention-policy.ts';
import { tableRetention } from '../clickhouse/table-retention.ts';
import { inspectTable } from '../clickhouse/table.ts';
import { checkTarget, unsuitable } from '../clickhouse/target.ts';
import { refuseOld, versionOf } from '../clickhouse/version.ts';
import { planAdoption, statementsOf, type Adoption, type OwnNames } from './adopt.ts';
import { manifestsOf } from '../manifests/store.ts';
import { quoted } from './doctor/subjects.ts';
import { createManifests, createTable, definitionOf, knowsStorage, STORAGE } from './events-table.ts';

/** Says what was done, a line at a time. */
export type Report = (line: string) => void;

/** What became of a thing that `migrate` brings about. */
export function tellOf(
  where: 'Postgres' | 'ClickHouse',
  became: 'made' | 'updated' | 'restored' | 'unchanged',
  what: string,
): string {
  return became === 'unchanged' ? `${where}: ${what} is unchanged` : `${where}: ${became} ${what}`;
}

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

const STORAGE_LINE = new RegExp(`,\\n *--[^\\n]*\\n *${STORAGE} = '\\w+'`);

/** Whether the statements may be run. */
export type Approve = (adoption: Adoption) => Promise<boolean>;

/**
 * Makes the user's own table one that the streamer can fill. Where there is no such table, or nothing to change, it asks nobody. Returns
 * false where it was not approved, and has changed nothing then. Throws OUTBOX_CH_TABLE_UNSUITABLE and OUTBOX_CH_*.
 */
export async function adoptTable(
  access: string | ClickHouseAccess,
  { table, cluster = '' }: ClickHouseTarget,
  { names, approve, report }: { readonly names: OwnNames; readonly approve: Approve; readonly report: Report },
): Promise<boolean> {
  const clickhouse = new ClickHouse(access, TIMEOUT_MS);
  try {
    const plan = await planAdoption(clickhouse, table, names).catch((error: unknown) => {
      if (error instanceof OutboxError && error.code === 'OUTBOX_CH_NOT_MIGRATED') return undefined;
      throw error;
    });
    if (plan === undefined || plan.steps.length === 0) return true;
    if (!(await approve(plan))) return false;
    for (const statement of statementsOf(plan, cluster)) await clickhouse.command(statement);
    report(`ClickHouse: adopted the table "${table}"`);
    return true;
  } finally {
    await clickhouse.close();
  }
}

export interface ClickHouseTarget {
  readonly table: string;
  /** Empty: one server. */
  readonly cluster?: string;
  /** OUTBOX_CLICKHOUSE_RETENTION; empty: the TTL stays as it is. */
  readonly retention?: string;
}

/**
 * Brings ClickHouse to the newest schema. Idempotent, and safe to run twice at once. On a cluster, the table is replicated, each shard
 * has one, and `<table>_all` reads all of them. Throws OutboxErrors OUTBOX_CH_*.
 */
export async function migrateClickHouse(
  access: string | ClickHouseAccess,
  target: ClickHouseTarget,
  report: Report,
): Promise<void> {
  const clickhouse = new ClickHouse(access, TIMEOUT_MS);
  try {
    refuseOld(await versionOf(clickhouse));
    await makeTables(clickhouse, target, report);
    await keepFor(clickhouse, target, report);
  } finally {
    await clickhouse.close();
  }
}

async function makeTables(
  clickhouse: ClickHouse,
  { table, cluster = '' }: ClickHouseTarget,
  report: Report,
): Promise<void> {
  const text = await definition(clickhouse);
  const became = (await isMissing(clickhouse, table)) ? 'made' : 'unchanged';
  if (cluster === '') {
    await clickhouse.command(text, { table });
    await checkTable(clickhouse, table);
    report(tellOf('ClickHouse', became, `the table "${table}"`));
    await makeManifests(clickhouse, { table }, report);
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
  report(tellOf('ClickHouse', became, `the table "${table}"`));
  report(`ClickHouse: every other host of the cluster "${cluster}" has it, too`);
  await makeManifests(clickhouse, { table, cluster }, report);
  const all = `${table}_all`;
  const allBecame = (await isMissing(clickhouse, all)) ? 'made' : 'unchanged';
  for (const [over, one] of [
    [all, table],
    [manifestsOf(all), manifestsOf(table)],
  ] as const)
    await clickhouse.command(
      `CREATE TABLE IF NOT EXISTS ${quoted(over)} ON CLUSTER ${quoted(cluster)} AS ${quoted(one)}
         ENGINE = Distributed(${literal(cluster)}, currentDatabase(), ${literal(one)})`,
    );
  report(tellOf('ClickHouse', allBecame, `the table "${all}" over all shards`));
}

/** The table of the manifests of a table's events. */
async function makeManifests(
  clickhouse: ClickHouse,
  { table, cluster = '' }: ClickHouseTarget,
  report: Report,
): Promise<void> {
  const name = manifestsOf(table);
  const became = (await isMissing(clickhouse, name)) ? 'made' : 'unchanged';
  const text = await createManifests();
  await clickhouse.command(cluster === '' ? text : onCluster(text, cluster), { table: name });
  report(tellOf('ClickHouse', became, `the table "${name}"`));
}

/** Brings the table's TTL to what the retention says. Throws OUTBOX_CH_TTL_FOREIGN where somebody else has made it. */
async function keepFor(
  clickhouse: ClickHouse,
  { table, cluster = '', retention = '' }: ClickHouseTarget,
  report: Report,
): Promise<void> {
  if (retention === '') return;
  const { policy } = readPolicy(retention, 0);
  const { present, wanted, foreign, isInPlace } = await tableRetention(clickhouse, { table, cluster }, policy);
  const altered = `${quoted(table)}${cluster === '' ? '' : ` ON CLUSTER ${quoted(cluster)}`}`;
  if (foreign.length > 0)
    throw new OutboxError('OUTBOX_CH_TTL_FOREIGN', {
      detail: `the TTL of the table "${table}" is ${foreign.join(', ')}`,
      problems: [`ALTER TABLE ${altered} REMOVE TTL`],
    });
  if (!isInPlace)
    await clickhouse.command(`ALTER TABLE ${altered} ${wanted === '' ? 'REMOVE TTL' : `MODIFY TTL ${wanted}`}`);
  report(tellOf('ClickHouse', isInPlace ? 'unchanged' : 'updated', `the TTL of the table "${table}"`));
  if (!isInPlace && present !== '') report(`ClickHouse: the TTL was ${present}`);
}

async function isMissing(clickhouse: ClickHouse, name: string): Promise<boolean> {
  const [here] = await clickhouse.select<{ database: string }>('SELECT currentDatabase() AS database');
  return (await absenceOf(clickhouse, { database: here!.database, name })) === 'missing';
}

/** The table as this server can make it. */
async function definition(clickhouse: ClickHouse): Promise<string> {
  const text = await createTable();
  return (await knowsStorage(clickhouse)) ? text : text.replace(STORAGE_LINE, '');
}

/** Before anything is made in Postgres. Throws OUTBOX_CH_TABLE_FOREIGN, and nothing else that ClickHouse may say. */
export async function refuseForeignTable(access: string | ClickHouseAccess, table: string): Promise<void> {
  const clickhouse = new ClickHouse(access, TIMEOUT_MS);
  try {
    await refuseForeign(clickhouse, table);
  } finally {
    await clickhouse.close();
  }
}

/** The same by a client that there is. */
export async function refuseForeign(clickhouse: ClickHouse, table: string): Promise<void> {
  try {
    await inspectTable(clickhouse, table);
  } catch (error) {
    if (!(error instanceof OutboxError) || error.code === 'OUTBOX_CH_TABLE_FOREIGN') throw error;
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
