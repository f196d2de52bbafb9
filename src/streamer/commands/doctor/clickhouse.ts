import { ClickHouse } from '../../clickhouse/client.ts';
import { awaken, mayIdle } from '../../clickhouse/idling.ts';
import { urlsOf } from '../../clickhouse/hosts.ts';
import type { Config } from '../../config.ts';
import { refuseForeign } from '../migrate-clickhouse.ts';
import { DETACHED_CHECKS } from './clickhouse-detached.ts';
import { REPLICA_CHECKS } from './clickhouse-replicas.ts';
import { CLICKHOUSE_SERVER_CHECKS } from './clickhouse-server.ts';
import { TABLE_CHECKS } from './clickhouse-table.ts';
import { findingOf, ok, runChecks, shell, type Finding } from './finding.ts';
import { quoted, type ClickHouseSubject } from './subjects.ts';

const TIMEOUT_MS = 5000;

/** Everything about ClickHouse. Never throws for what ClickHouse says. */
export async function examineClickHouse(config: Config, onWaking = (): void => undefined): Promise<Finding[]> {
  const [{ pathname, username }] = urlsOf(config.clickhouseUrl);
  const clickhouse = new ClickHouse(config, TIMEOUT_MS);
  const table = `${quoted(decodeURIComponent(pathname.slice(1)))}.${quoted(config.clickhouseTable)}`;
  const { clickhouseCluster: cluster } = config;
  const subject: ClickHouseSubject = {
    clickhouse,
    config,
    table,
    altered: cluster === '' ? table : `${table} ON CLUSTER ${quoted(cluster)}`,
    user: quoted(decodeURIComponent(username)),
  };
  try {
    let wokeInMs: number | undefined;
    if (mayIdle(config)) wokeInMs = await awaken(clickhouse, onWaking);
    else await clickhouse.select('SELECT 1');
    const woke = wokeInMs === undefined ? '' : `; it was idle, and woke in ${Math.round(wokeInMs / 1000)} s`;
    const foreign = await runChecks([{ id: 'clickhouse.table', examine: foreignTable }], subject);
    return [
      ok('clickhouse.connection', `reachable${woke}`),
      ...(await runChecks(CLICKHOUSE_SERVER_CHECKS, subject)),
      ...foreign,
      // nothing that could be said of somebody else's table would help
      ...(foreign.length > 0 ? [] : await tableFindings(subject)),
    ];
  } catch (error) {
    const { protocol, host } = clickhouse.server;
    return [
      findingOf(
        'clickhouse.connection',
        error,
        shell(`curl --silent --show-error '${protocol}//${host.replaceAll("'", '%27')}/ping'`),
      ),
    ];
  } finally {
    await clickhouse.close();
  }
}

async function foreignTable({ clickhouse, config }: ClickHouseSubject): Promise<Finding[]> {
  await refuseForeign(clickhouse, config.clickhouseTable);
  return [];
}

async function tableFindings(subject: ClickHouseSubject): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const checks of [TABLE_CHECKS, DETACHED_CHECKS, REPLICA_CHECKS])
    findings.push(...(await runChecks(checks, subject)));
  return findings;
}
