import type { TestProject } from 'vitest/node';
import { startPostgres } from '../../src/embedded/postgres.ts';

/** One Postgres for all, and the cluster that OUTBOX_TEST_CLUSTER names by its control address. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const control = process.env['OUTBOX_TEST_CLUSTER'];
  if (!control) throw new Error('OUTBOX_TEST_CLUSTER must be the control address of a cluster: test/cluster/README.md');
  const nodes = (await (await fetch(control)).json()) as { url: string }[];
  const postgres = await startPostgres();
  const clickhouse = new URL(nodes[0]!.url);
  Object.assign(clickhouse, { username: 'outbox', password: 'outbox' });
  project.provide('postgresUrl', postgres.url);
  project.provide('clickhouseUrl', clickhouse.href);
  project.provide('clusterUrl', control);
  return async () => postgres.dispose();
}
