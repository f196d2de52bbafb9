import type { ClickHouseClient } from '@clickhouse/client';
import { afterEach, beforeEach, expect, test } from 'vitest';
import {
  CLUSTER,
  Cluster,
  expectExactly,
  REPLICATED_VIEW,
  untilSettled,
  untilWhole,
  type Node,
} from '../support/cluster.ts';
import { command } from '../support/command.ts';
import { Outbox } from '../support/outbox.ts';
import { Proxy } from '../support/proxy.ts';
import type { Streamer } from '../support/streamer.ts';
import { eventually } from '../support/wait.ts';

let cluster: Cluster;
let outbox: Outbox;
let nodes: readonly [Node, Node];
let clients: ClickHouseClient[];

beforeEach(async () => {
  cluster = await Cluster.reach();
  const [a, b] = cluster.nodes;
  nodes = [a!, b!];
  outbox = await Outbox.create({ cluster: CLUSTER });
  clients = nodes.map((node) => cluster.clientOf(node, outbox.slot));
  for (const query of REPLICATED_VIEW) await outbox.clickhouse.command({ query });
});

afterEach(async () => {
  await Promise.all(clients.map((client) => client.close()));
  await outbox[Symbol.asyncDispose]();
});

const urls = (): [string, string] => [cluster.urlOf(nodes[0], outbox.slot), cluster.urlOf(nodes[1], outbox.slot)];

/** 600 events are on the first replica, the last 500 without an answer, and the second one fetches nothing. */
async function unanswered(): Promise<{ proxy: Proxy; streamer: Streamer }> {
  const { proxy, url } = await Proxy.to(new URL(urls()[0]));
  const streamer = outbox.stream({ CLICKHOUSE_URL: url, OUTBOX_INSERT_TIMEOUT_MS: '2000' });
  await outbox.fill(100);
  await outbox.untilDelivered(100);
  await untilWhole(clients);
  await clients[1]!.command({ query: 'SYSTEM STOP FETCHES events' });
  proxy.holdAnswersToInserts();
  await outbox.fill(500);
  await outbox.untilDelivered(600);
  return { proxy, streamer };
}

test('no event is lost when Keeper has a commit and its answer never comes', async () => {
  // otherwise the part is fetched before it can be removed
  await clients[1]!.command({ query: 'SYSTEM STOP FETCHES events' });
  const streamer = outbox.stream({ CLICKHOUSE_URL: urls()[0], OUTBOX_INSERT_TIMEOUT_MS: '8000' });
  await outbox.fill(100);
  await outbox.untilDelivered(100);
  await cluster.swallow(nodes[0], outbox.slot, 12_000);
  await outbox.fill(60);
  await eventually('the answer is lost', async () => (await cluster.swallowed(nodes[0])) > 0, 60_000);
  // by then the node has its Keeper again, and has kept the part or removed it
  await untilSettled(outbox);
  await clients[1]!.command({ query: 'SYSTEM START FETCHES events' });
  await untilSettled(outbox);
  await expectExactly(clients, 162);
  expect(await streamer.stop()).toBe(0);
});

test('an insert whose answer is lost counts once when it is repeated at a replica that lags', async () => {
  const { proxy, streamer } = await unanswered();
  proxy.retarget(new URL(urls()[1]));
  proxy.cut();
  proxy.release();
  await streamer.failure('OUTBOX_CH_REPLICA_BEHIND');
  expect((await outbox.ledger())['pending_token']).not.toBeNull();
  await clients[1]!.command({ query: 'SYSTEM START FETCHES events' });
  await untilSettled(outbox);
  await expectExactly(clients, 601);
  expect(await streamer.stop()).toBe(0);
  await proxy.close();
});

test('a successor that is led to a replica that lags finds what its predecessor sent', async () => {
  const { proxy, streamer } = await unanswered();
  await streamer.kill();
  await proxy.close();
  // as if a standby had been promoted: what may be there is looked for
  await outbox.postgres.query(`UPDATE outbox.stream SET read_back_below = pg_current_wal_lsn() WHERE slot_name = $1`, [
    outbox.slot,
  ]);
  const successor = outbox.stream({ CLICKHOUSE_URL: urls()[1], OUTBOX_INSERT_TIMEOUT_MS: '2000' });
  await successor.failure('OUTBOX_CH_REPLICA_BEHIND');
  await clients[1]!.command({ query: 'SYSTEM START FETCHES events' });
  await untilSettled(outbox);
  await expectExactly(clients, 601);
  expect(await successor.stop()).toBe(0);
});

test('events wait while Keeper is away, and are delivered once when it is back', async () => {
  const streamer = outbox.stream({ CLICKHOUSE_URL: urls()[0], OUTBOX_INSERT_TIMEOUT_MS: '5000' });
  await outbox.fill(100);
  await outbox.untilDelivered(100);
  await cluster.keeper('kill');
  await outbox.fill(100);
  await streamer.failure('OUTBOX_CH_KEEPER_AWAY');
  const { stdout } = await command(outbox, ['status', '--json'], { CLICKHOUSE_URL: urls()[0] }).done;
  expect(stdout).toContain('OUTBOX_CH_KEEPER_AWAY');
  await cluster.keeper('start');
  await untilSettled(outbox);
  // one that lost Keeper in the middle of a commit shows what it wrote beside its repetition, until it has checked that part
  await expectExactly(clients.slice(1), 201);
  expect(await streamer.stop()).toBe(0);
});
