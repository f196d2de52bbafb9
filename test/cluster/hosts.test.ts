import { expect, test } from 'vitest';
import { onFreePort } from '../../src/embedded/ports.ts';
import { CLUSTER, Cluster, untilWhole } from '../support/cluster.ts';
import { command } from '../support/command.ts';
import { Outbox } from '../support/outbox.ts';
import { Scrape } from '../support/scrape.ts';
import { eventually } from '../support/wait.ts';

/** Of the replicas of one shard, as CLICKHOUSE_URL names them. */
function urlOfAll(cluster: Cluster, database: string): string {
  const [first, ...others] = cluster.nodes.filter(({ shard }) => shard === 1);
  const url = new URL(cluster.urlOf(first!, database));
  const list = [url.host, ...others.map((node) => new URL(node.url).host)].join(',');
  return url.href.replace(url.host, list);
}

test('the streamer goes on with another replica while one is dead, and each event counts once', async () => {
  const cluster = await Cluster.reach();
  await using outbox = await Outbox.create({ cluster: CLUSTER, clickhouseUrl: cluster.urlOf(cluster.nodes[1]!, '') });
  const CLICKHOUSE_URL = urlOfAll(cluster, outbox.slot);
  const port = await onFreePort(0, async (free) => free);
  const streamer = outbox.stream({
    CLICKHOUSE_URL,
    OUTBOX_INSERT_TIMEOUT_MS: '5000',
    OUTBOX_HEALTH_PORT: String(port),
  });
  await outbox.fill(100);
  await outbox.untilDelivered(100);
  await cluster.kill(cluster.nodes[0]!);
  await outbox.fill(100);
  await outbox.untilDelivered(200);
  // once Keeper has ended the dead one's session
  await eventually(
    'doctor says it',
    async () => {
      const { stdout } = await command(outbox, ['doctor', '--json'], { CLICKHOUSE_URL }).done;
      return stdout.includes('1 of 2 replicas are there');
    },
    90_000,
  );
  await eventually('the metrics say it', async () => {
    const scrape = await Scrape.of(port);
    return scrape.value('outbox_clickhouse_replicas', { state: 'away' }) === 1 && scrape;
  });
  const scrape = await Scrape.of(port);
  expect(scrape.value('outbox_clickhouse_replica_state', { state: 'writable' })).toBe(1);
  expect(scrape.value('outbox_clickhouse_parts_lost_total')).toBe(0);
  const told = await command(outbox, ['status', '--json'], { CLICKHOUSE_URL }).done;
  expect(JSON.parse(told.stdout)).toMatchObject({
    flowing: true,
    warnings: expect.arrayContaining([
      { code: 'OUTBOX_CH_REPLICA_AWAY', detail: '1 of 2 replicas are there' },
      { code: 'OUTBOX_CH_UNREACHABLE', detail: expect.stringContaining(' is away: ') },
    ]),
    clickhouse: { replica: { state: 'writable', active: 1, total: 2 } },
  });
  await cluster.start(cluster.nodes[0]!);
  const first = cluster.clientOf(cluster.nodes[0]!, outbox.slot);
  await untilWhole([first, outbox.clickhouse]);
  await cluster.kill(cluster.nodes[1]!);
  await outbox.fill(100);
  const count = async (): Promise<unknown> =>
    (
      await first.query({
        query: 'SELECT toString(count()) AS n, toString(uniqExact(event_id)) AS ids FROM events',
        format: 'JSONEachRow',
      })
    ).json();
  await eventually('the first has them', async () => JSON.stringify(await count()).includes('"300"'), 60_000);
  expect(await count()).toEqual([{ n: '300', ids: '300' }]);
  await cluster.start(cluster.nodes[1]!);
  await untilWhole([outbox.clickhouse]);
  expect(await outbox.delivered()).toEqual({ rows: 300, events: 300 });
  const verified = await command(outbox, ['verify', '--json', '--wait', '0'], { CLICKHOUSE_URL }).done;
  expect(JSON.parse(verified.stdout)).toMatchObject({ identical: true });
  expect(await streamer.stop()).toBe(0);
  await first.close();
});

test('`migrate` on a cluster names all that stands in its way, and twice at once does no harm', async () => {
  const cluster = await Cluster.reach();
  await using outbox = await Outbox.create({
    cluster: CLUSTER,
    migrated: false,
    clickhouseUrl: cluster.urlOf(cluster.nodes[0]!, ''),
  });
  const migrate = (name: string): Promise<{ code: number | null; stdout: string; stderr: string }> =>
    command(outbox, ['migrate'], { OUTBOX_CLICKHOUSE_CLUSTER: name }).done;
  const unknown = await migrate('none');
  expect(unknown.code).toBe(1);
  expect(unknown.stderr).toContain('OUTBOX_CH_CLUSTER');
  expect(unknown.stderr).toContain('there are c');
  const other = cluster.clientOf(cluster.nodes[1]!, outbox.slot);
  await other.command({ query: 'CREATE TABLE events (x UInt8) ENGINE = MergeTree ORDER BY x' });
  const taken = await migrate(CLUSTER);
  expect(taken.code).toBe(1);
  expect(taken.stderr).toContain('has a table "events" already, whose engine is MergeTree');
  await other.command({ query: 'DROP TABLE events SYNC' });
  const both = await Promise.all([migrate(CLUSTER), migrate(CLUSTER)]);
  expect(both.map(({ code }) => code)).toEqual([0, 0]);
  const result = await other.query({
    query: 'SELECT name, engine FROM system.tables WHERE database = currentDatabase() ORDER BY name',
    format: 'JSONEachRow',
  });
  expect(await result.json()).toEqual([
    { name: 'events', engine: 'ReplicatedMergeTree' },
    { name: 'events_all', engine: 'Distributed' },
    { name: 'events_all_manifests', engine: 'Distributed' },
    { name: 'events_manifests', engine: 'ReplicatedMergeTree' },
  ]);
  const alone = await command(outbox, ['migrate'], { OUTBOX_CLICKHOUSE_TABLE: 'other' }).done;
  expect(alone.stdout).toContain('OUTBOX_CLICKHOUSE_CLUSTER=c');
  await cluster.kill(cluster.nodes[1]!);
  const down = await migrate(CLUSTER);
  expect(down.code).toBe(1);
  expect(down.stderr).toMatch(/127\.0\.0\.1:\d+ does not answer/);
  await cluster.start(cluster.nodes[1]!);
  await other.close();
});
