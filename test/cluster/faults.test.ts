import { randomInt } from 'node:crypto';
import type { ClickHouseClient } from '@clickhouse/client';
import { expect, test } from 'vitest';
import { Dice } from '../faults/dice.ts';
import { CLUSTER, Cluster, heldBy, REPLICATED_VIEW, type Node } from '../support/cluster.ts';
import { Outbox } from '../support/outbox.ts';
import { Proxy } from '../support/proxy.ts';
import type { Streamer } from '../support/streamer.ts';
import { eventually } from '../support/wait.ts';

/** So many faults, one after the other, take about four minutes. */
const FAULTS = Number(process.env['OUTBOX_TEST_FAULTS'] ?? 16);
const SEED = Number(process.env['OUTBOX_TEST_SEED'] ?? randomInt(1_000_000));

/** What is attacked. Two streamers in a row, never beside each other, as a supervisor would start them. */
class Scene {
  readonly outbox: Outbox;
  readonly cluster: Cluster;
  readonly dice: Dice;
  readonly nodes: readonly Node[];
  readonly clients: readonly ClickHouseClient[];
  /** A load balancer that leads to one replica at a time. */
  readonly balancer: Proxy;
  readonly #balancerUrl: string;
  streamer: Streamer;
  committed = 0;
  #isWriting = true;

  private constructor(outbox: Outbox, cluster: Cluster, dice: Dice, balancer: Proxy, balancerUrl: string) {
    this.outbox = outbox;
    this.cluster = cluster;
    this.dice = dice;
    this.nodes = cluster.nodes.filter(({ shard }) => shard === 1);
    this.clients = this.nodes.map((node) => cluster.clientOf(node, outbox.slot));
    this.balancer = balancer;
    this.#balancerUrl = balancerUrl;
    this.streamer = this.#start();
  }

  static async create(outbox: Outbox, cluster: Cluster, dice: Dice): Promise<Scene> {
    const { proxy, url } = await Proxy.to(new URL(cluster.urlOf(cluster.nodes[0]!, outbox.slot)));
    return new Scene(outbox, cluster, dice, proxy, url);
  }

  /** By the balancer, or by the hosts of a URL, as often as not. */
  #start(): Streamer {
    const url = new URL(this.cluster.urlOf(this.nodes[0]!, this.outbox.slot));
    const list = this.nodes.map((node) => new URL(node.url).host).join(',');
    return this.outbox.stream({
      CLICKHOUSE_URL: this.dice.chance(0.5) ? this.#balancerUrl : url.href.replace(url.host, list),
      OUTBOX_INSERT_TIMEOUT_MS: '3000',
    });
  }

  async restart(): Promise<void> {
    await this.streamer.kill();
    this.streamer = this.#start();
  }

  async write(): Promise<void> {
    while (this.#isWriting) {
      const count = this.dice.between(1, 200);
      await this.outbox.fill(count, `type-${this.dice.between(1, 5)}`);
      this.committed += count;
      await this.dice.pause(5, 60);
    }
  }

  /** Ends writing, and waits until all that was written is settled. */
  async drain(): Promise<void> {
    this.#isWriting = false;
    await this.outbox.fill(1);
    this.committed++;
    const end = await this.outbox.walEnd();
    await eventually(
      `all is settled, by ${this.streamer.logs
        .slice(-3)
        .map((line) => JSON.stringify(line))
        .join('\n')}`,
      async () => (await this.outbox.confirmed(end)) && (await this.outbox.ledger())['pending_token'] === null,
      240_000,
    );
  }

  async close(): Promise<void> {
    await this.balancer.close();
    await Promise.all(this.clients.map((client) => client.close()));
  }
}

type Act = (scene: Scene) => Promise<void>;

const KINDS: Readonly<Record<string, Act>> = {
  'a replica is killed and starts again': async ({ cluster, nodes, dice }) => {
    const node = dice.pick(nodes);
    await cluster.kill(node);
    await dice.pause(500, 6000);
    await cluster.start(node);
  },
  'a replica stops for a while': async ({ cluster, nodes, dice }) => {
    const node = dice.pick(nodes);
    await cluster.pause(node);
    await dice.pause(500, 8000);
    await cluster.resume(node);
  },
  'a replica fetches nothing for a while': async ({ clients, dice }) => {
    const client = dice.pick(clients);
    await client.command({ query: 'SYSTEM STOP FETCHES events' });
    await dice.pause(500, 6000);
    await client.command({ query: 'SYSTEM START FETCHES events' });
  },
  'the coordination is killed and starts again': async ({ cluster, dice }) => {
    await cluster.keeper('kill');
    await dice.pause(500, 5000);
    await cluster.keeper('start');
  },
  'the coordination stops for a while': async ({ cluster, dice }) => {
    await cluster.keeper('pause');
    await dice.pause(500, 8000);
    await cluster.keeper('resume');
  },
  'a commit has no answer': async ({ cluster, nodes, outbox, dice }) => {
    await cluster.swallow(dice.pick(nodes), outbox.slot, dice.between(1000, 9000));
    await dice.pause(500, 3000);
  },
  'the balancer leads to another replica': async ({ cluster, nodes, outbox, balancer, dice }) => {
    balancer.retarget(new URL(cluster.urlOf(dice.pick(nodes), outbox.slot)));
    if (dice.chance(0.7)) balancer.cut();
    await dice.pause(100, 1000);
  },
  'answers are lost, and the balancer leads to another replica': async ({ cluster, nodes, outbox, balancer, dice }) => {
    balancer.holdAnswersToInserts();
    await dice.pause(100, 1500);
    balancer.retarget(new URL(cluster.urlOf(dice.pick(nodes), outbox.slot)));
    balancer.cut();
    balancer.release();
  },
  'the streamer is killed': async (scene) => {
    await scene.restart();
    await scene.dice.pause(100, 2000);
  },
};

test(
  `every replica holds each event once after ${FAULTS} faults (OUTBOX_TEST_SEED=${SEED})`,
  { timeout: 300_000 + FAULTS * 20_000 },
  async () => {
    const cluster = await Cluster.reach();
    await using outbox = await Outbox.create({ cluster: CLUSTER });
    for (const query of REPLICATED_VIEW) await outbox.clickhouse.command({ query });
    const dice = new Dice(SEED);
    const scene = await Scene.create(outbox, cluster, dice);
    const writing = scene.write();
    const names = Object.keys(KINDS);
    for (let fault = 0; fault < FAULTS; fault++) {
      // each kind once before any comes again
      const name = names[fault % names.length]!;
      if (fault % names.length === 0) names.push(...dice.shuffled(names.splice(0)));
      await KINDS[name]!(scene);
      await dice.pause(200, 2500);
    }
    scene.balancer.release();
    await Promise.all([scene.drain(), writing]);
    const { rows } = await outbox.postgres.query<{ id: string }>('SELECT event_id::text AS id FROM outbox.event');
    expect(rows).toHaveLength(scene.committed);
    const held = await Promise.all(scene.clients.map(async (client) => heldBy(client)));
    const all = String(scene.committed);
    for (const { rows: count, events, viewed } of held)
      expect({ count, events, viewed }).toEqual({ count: all, events: all, viewed: all });
    expect(new Set(held.map(({ digest }) => digest)).size).toBe(1);
    expect(await outbox.postgres.query('SELECT FROM outbox.quarantine')).toMatchObject({ rowCount: 0 });
    expect(await scene.streamer.stop()).toBe(0);
    await scene.close();
  },
);
