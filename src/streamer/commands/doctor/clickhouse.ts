import { ClickHouse } from '../../clickhouse/client.ts';
import type { Config } from '../../config.ts';
import { CLICKHOUSE_SERVER_CHECKS } from './clickhouse-server.ts';
import { quoted, TABLE_CHECKS } from './clickhouse-table.ts';
import { findingOf, lookAt, ok, shell } from './finding.ts';
import type { Check, Finding } from './finding.ts';

const TIMEOUT_MS = 5000;

/** What every check of ClickHouse may want to know. */
export interface Sink {
  readonly clickhouse: ClickHouse;
  readonly config: Config;
  /** Database and name of the table, each quoted. */
  readonly table: string;
  readonly user: string;
}

export type SinkCheck = Check<Sink>;

/** Everything about ClickHouse. Never throws for what ClickHouse says. */
export async function examineClickHouse(config: Config): Promise<Finding[]> {
  const { pathname, username } = new URL(config.clickhouseUrl);
  const clickhouse = new ClickHouse(config.clickhouseUrl, TIMEOUT_MS);
  const sink: Sink = {
    clickhouse,
    config,
    table: `${quoted(decodeURIComponent(pathname.slice(1)))}.${quoted(config.clickhouseTable)}`,
    user: quoted(decodeURIComponent(username)),
  };
  try {
    await clickhouse.select('SELECT 1');
    return [
      ok('clickhouse.connection', 'reachable'),
      ...(await lookAt(CLICKHOUSE_SERVER_CHECKS, sink)),
      ...(await lookAt(TABLE_CHECKS, sink)),
    ];
  } catch (error) {
    const { protocol, host } = new URL(config.clickhouseUrl);
    return [findingOf('clickhouse.connection', error, shell(`curl --silent --show-error ${protocol}//${host}/ping`))];
  } finally {
    await clickhouse.close();
  }
}
