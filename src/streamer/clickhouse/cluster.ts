import { OutboxError } from '../../errors.ts';
import type { ClickHouse } from './client.ts';
import { literal } from './literal.ts';

/** A server of a cluster, by how the others reach it. */
interface Host {
  readonly name: string;
  readonly shard: number;
}

/** What a host says of itself. */
interface HostAnswer {
  /** Its place among all hosts, from 1. */
  readonly place: number;
  readonly shard: string;
  readonly replica: string;
  readonly hasDatabase: 0 | 1;
  /** Of the table; empty where there is none. */
  readonly engine: string;
}

/** A query on system tables answers in milliseconds: a host that is down is told from a slow one by then. */
const CONNECT_SETTINGS = 'skip_unavailable_shards = 1, connect_timeout_with_failover_ms = 3000';
/** Those of ClickHouse's sample configuration, which name one server. */
const SAMPLES = ['default', 'test_'];

/**
 * Makes sure that a table can be made on every host of a cluster: the cluster is known, each host answers, has the macros {shard} and
 * {replica} and the database, and no other table of that name. Throws OUTBOX_CH_CLUSTER with all problems, or what the questions ran
 * into.
 */
export async function checkCluster(clickhouse: ClickHouse, cluster: string, table: string): Promise<void> {
  const hosts = await hostsOf(clickhouse, cluster);
  if (hosts.length === 0) {
    const known = await clustersOf(clickhouse);
    const others = known.length === 0 ? 'there is none' : `there are ${known.join(', ')}`;
    throw new OutboxError('OUTBOX_CH_CLUSTER', { detail: `ClickHouse knows no cluster "${cluster}"; ${others}` });
  }
  const [here] = await clickhouse.select<{ database: string }>('SELECT currentDatabase() AS database');
  const answers = await clickhouse.select<HostAnswer>(
    `SELECT toUInt32(_shard_num) AS place, anyIf(value, what = 'shard') AS shard, anyIf(value, what = 'replica') AS replica,
            max(what = 'database') AS hasDatabase, anyIf(value, what = 'table') AS engine
       FROM clusterAllReplicas(${literal(cluster)}, view(
              SELECT macro AS what, substitution AS value FROM system.macros WHERE macro IN ('shard', 'replica')
               UNION ALL SELECT 'database', '' FROM system.databases WHERE name = ${literal(here!.database)}
               UNION ALL SELECT 'table', engine FROM system.tables WHERE database = ${literal(here!.database)} AND name = ${literal(table)}
               UNION ALL SELECT 'host', ''))
      GROUP BY place SETTINGS ${CONNECT_SETTINGS}`,
  );
  const problems = hosts.flatMap(({ name }, index) =>
    problemsOf(
      name,
      answers.find(({ place }) => place === index + 1),
      { cluster, table, database: here!.database },
    ),
  );
  problems.push(...macroProblems(hosts, answers));
  if (problems.length > 0)
    throw new OutboxError('OUTBOX_CH_CLUSTER', {
      detail: `the table "${table}" cannot be made on the cluster "${cluster}"`,
      problems,
    });
}

/** The clusters of several hosts that this server belongs to. Throws OUTBOX_CH_*. */
export async function clustersOf(clickhouse: ClickHouse): Promise<string[]> {
  const found = await clickhouse.select<{ name: string }>(
    `SELECT cluster AS name FROM system.clusters GROUP BY cluster HAVING count() > 1 AND max(is_local) = 1 ORDER BY cluster`,
  );
  return found.map(({ name }) => name).filter((name) => !SAMPLES.some((sample) => name.startsWith(sample)));
}

async function hostsOf(clickhouse: ClickHouse, cluster: string): Promise<Host[]> {
  return clickhouse.select<Host>(
    `SELECT concat(host_name, ':', toString(port)) AS name, toUInt32(shard_num) AS shard
       FROM system.clusters WHERE cluster = {cluster:String} ORDER BY shard_num, replica_num`,
    { cluster },
  );
}

function problemsOf(
  host: string,
  answer: HostAnswer | undefined,
  { cluster, table, database }: { readonly cluster: string; readonly table: string; readonly database: string },
): string[] {
  if (answer === undefined) return [`${host} does not answer`];
  const problems: string[] = [];
  for (const macro of ['shard', 'replica'] as const)
    if (answer[macro] === '') problems.push(`${host} has no macro {${macro}} in its configuration`);
  if (answer.hasDatabase === 0)
    problems.push(`${host} has no database "${database}": CREATE DATABASE ${database} ON CLUSTER ${cluster}`);
  if (answer.engine !== '' && !/^(Replicated|Shared)/.test(answer.engine))
    problems.push(
      `${host} has a table "${table}" already, whose engine is ${answer.engine}: docs/clusters.md says how its rows are kept`,
    );
  return problems;
}

/** Two replicas of one name, or two shards, would take each other’s place in Keeper. */
function macroProblems(hosts: readonly Host[], answers: readonly HostAnswer[]): string[] {
  const problems: string[] = [];
  const seen = new Map<string, string>();
  const shards = new Map<string, number>();
  for (const [index, { name, shard }] of hosts.entries()) {
    const answer = answers.find(({ place }) => place === index + 1);
    if (answer === undefined || answer.shard === '' || answer.replica === '') continue;
    const key = `${answer.shard}\n${answer.replica}`;
    const twin = seen.get(key);
    if (twin !== undefined) problems.push(`${name} has the macros {shard} and {replica} of ${twin}`);
    else if ((shards.get(answer.shard) ?? shard) !== shard)
      problems.push(`${name} has the macro {shard} of another shard`);
    seen.set(key, name);
    shards.set(answer.shard, shard);
  }
  return problems;
}
