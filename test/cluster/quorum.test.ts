import type { ClickHouseClient } from '@clickhouse/client';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { CLUSTER, Cluster, expectExactly, REPLICATED_VIEW, untilSettled, type Node } from '../support/cluster.ts';
import { command } from '../support/command.ts';
import { Outbox } from '../support/outbox.ts';
import { eventually } from '../support/wait.ts';

const QUORUM = { OUTBOX_CLICKHOUSE_CLUSTER: CLUSTER, OUTBOX_INSERT_QUORUM: '2', OUTBOX_INSERT_TIMEOUT_MS: '2000' };

let cluster: Cluster;
let outbox: Outbox;
let nodes: readonly [Node, Node];
let clients: readonly [ClickHouseClient, ClickHouseClient];

beforeEach(async () => {
  cluster = await Cluster.reach();
  const [a, b] = cluster.nodes;
  nodes = [a!, b!];
  outbox = await Outbox.create({ cluster: CLUSTER });
  clients = [cluster.clientOf(a!, outbox.slot), cluster.clientOf(b!, outbox.slot)];
  for (const query of REPLICATED_VIEW) await outbox.clickhouse.command({ query });
});

afterEach(async () => {
  await Promise.all(clients.map((client) => client.close()));
  await outbox[Symbol.asyncDispose]();
});

test('with a quorum, an insert counts as delivered once both replicas have it', async () => {
  const streamer = outbox.stream({ ...QUORUM, CLICKHOUSE_URL: cluster.urlOf(nodes[0], outbox.slot) });
  await outbox.fill(100);
  await untilSettled(outbox);
  await clients[1].command({ query: 'SYSTEM STOP FETCHES events' });
  await outbox.fill(100);
  await streamer.failure('OUTBOX_CH_QUORUM');
  expect((await outbox.ledger())['pending_token']).not.toBeNull();
  const { stdout } = await command(outbox, ['status', '--json'], QUORUM).done;
  expect(stdout).toContain('OUTBOX_CH_QUORUM');
  await clients[1].command({ query: 'SYSTEM START FETCHES events' });
  await untilSettled(outbox);
  await expectExactly(clients, 202);
  expect(await streamer.stop()).toBe(0);
});

test('with a quorum, rows that one replica alone has do not count as found: ClickHouse gives them up', async () => {
  const CLICKHOUSE_URL = cluster.urlOf(nodes[0], outbox.slot);
  const streamer = outbox.stream({ ...QUORUM, CLICKHOUSE_URL });
  await outbox.fill(100);
  await untilSettled(outbox);
  await clients[1].command({ query: 'SYSTEM STOP FETCHES events' });
  await outbox.fill(100);
  await streamer.failure('OUTBOX_CH_QUORUM');
  await streamer.kill();
  // as if a standby had been promoted: what may be there is looked for
  await outbox.postgres.query(`UPDATE outbox.stream SET read_back_below = pg_current_wal_lsn() WHERE slot_name = $1`, [
    outbox.slot,
  ]);
  const successor = outbox.stream({ ...QUORUM, CLICKHOUSE_URL });
  await successor.failure('OUTBOX_CH_QUORUM');
  await cluster.kill(nodes[0]);
  await eventually(
    'Keeper has ended the session of the dead one',
    async () => {
      const query = `SELECT toString(active_replicas) AS n FROM system.replicas WHERE database = currentDatabase() AND table = 'events'`;
      const found = await (await clients[1].query({ query, format: 'JSONEachRow' })).json<{ n: string }>();
      return found[0]?.n === '1';
    },
    90_000,
  );
  await clients[1].command({ query: 'SYSTEM START FETCHES events' });
  await eventually(
    'the other replica gives up what it cannot fetch',
    async () => {
      const query = `SELECT toString(inserts_in_queue) AS n FROM system.replicas WHERE database = currentDatabase() AND table = 'events'`;
      const found = await (await clients[1].query({ query, format: 'JSONEachRow' })).json<{ n: string }>();
      return found[0]?.n === '0';
    },
    90_000,
  );
  await cluster.start(nodes[0]);
  await untilSettled(outbox);
  await expectExactly(clients, 202);
  const query = `SELECT toString(count()) AS n FROM system.detached_parts WHERE database = currentDatabase() AND reason = 'noquorum'`;
  expect(await (await clients[0].query({ query, format: 'JSONEachRow' })).json()).toEqual([{ n: '1' }]);
  expect(await successor.stop()).toBe(0);
});

test('a quorum is refused for a table that is not replicated', async () => {
  await outbox.clickhouse.command({
    query: `CREATE TABLE local AS events ENGINE = MergeTree ORDER BY event_id
            SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1`,
  });
  const streamer = outbox.stream({ ...QUORUM, OUTBOX_CLICKHOUSE_TABLE: 'local' });
  await streamer.failure('OUTBOX_CH_QUORUM_UNUSABLE');
  expect(await streamer.stop()).toBe(0);
});
