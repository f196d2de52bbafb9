import type { ClickHouseClient } from '@clickhouse/client';
import type { Cluster } from '../support/cluster.ts';
import type { Scene } from './scene.ts';
import type { Shard } from './shard.ts';

export interface Kind {
  readonly name: string;
  /** Faults of one part of a shard follow each other; others may come together. */
  readonly part: 'replica' | 'Keeper' | 'way' | 'streamer' | 'Postgres';
  readonly act: (scene: Scene, shard: Shard) => Promise<void>;
}

/** One that has died by itself is told once it runs again. */
async function told(cluster: Cluster, client: ClickHouseClient, query: string): Promise<void> {
  await client.command({ query }).catch(async () => {
    await cluster.keepAlive();
    await client.command({ query });
  });
}

/** All that goes wrong. Each has ended when it resolves, but for what the servers make of it. */
export const KINDS: readonly Kind[] = [
  {
    name: 'a replica is killed and starts again',
    part: 'replica',
    act: async ({ cluster, dice }, { nodes }) => {
      const node = dice.pick(nodes);
      await cluster.kill(node);
      await dice.pause(500, 6000);
      await cluster.start(node);
    },
  },
  {
    name: 'a replica stops for a while',
    part: 'replica',
    act: async ({ cluster, dice }, { nodes }) => {
      const node = dice.pick(nodes);
      await cluster.pause(node);
      await dice.pause(500, 8000);
      await cluster.resume(node);
    },
  },
  {
    name: 'a replica fetches nothing for a while',
    part: 'replica',
    act: async ({ dice, cluster }, { clients }) => {
      const client = dice.pick(clients);
      const fetches = async (what: 'STOP' | 'START'): Promise<void> => {
        for (const table of ['events', 'counts']) await told(cluster, client, `SYSTEM ${what} FETCHES ${table}`);
      };
      await fetches('STOP');
      await dice.pause(500, 6000);
      await fetches('START');
    },
  },
  {
    name: 'a replica fetches nothing, and the other one is killed',
    part: 'replica',
    act: async ({ cluster, dice }, { nodes, clients }) => {
      const behind = dice.between(0, 1);
      await told(cluster, clients[behind]!, 'SYSTEM STOP FETCHES events');
      await dice.pause(500, 2000);
      await cluster.kill(nodes[1 - behind]!);
      await told(cluster, clients[behind]!, 'SYSTEM START FETCHES events');
      // in half of them Keeper has ended its session by then, and the other one gives up what it cannot fetch
      await (dice.chance(0.5) ? dice.pause(500, 6000) : dice.pause(31_000, 36_000));
      await cluster.start(nodes[1 - behind]!);
    },
  },
  {
    name: 'the coordination is killed and starts again',
    part: 'Keeper',
    act: async ({ cluster, dice }) => {
      await cluster.keeper('kill');
      await dice.pause(500, 5000);
      await cluster.keeper('start');
    },
  },
  {
    name: 'the coordination stops for a while',
    part: 'Keeper',
    act: async ({ cluster, dice }) => {
      await cluster.keeper('pause');
      await dice.pause(500, 8000);
      await cluster.keeper('resume');
    },
  },
  {
    name: 'a commit has no answer',
    part: 'Keeper',
    act: async ({ cluster, outbox, dice }, { nodes }) => {
      await cluster.swallow(dice.pick(nodes), outbox.slot, dice.between(1000, 9000));
      await dice.pause(500, 3000);
    },
  },
  {
    name: 'the balancer leads to another replica',
    part: 'way',
    act: async ({ cluster, outbox, dice }, { nodes, balancer }) => {
      balancer.retarget(new URL(cluster.urlOf(dice.pick(nodes), outbox.slot)));
      if (dice.chance(0.7)) balancer.cut();
      await dice.pause(100, 1000);
    },
  },
  {
    name: 'answers are lost, and the balancer leads to another replica',
    part: 'way',
    act: async ({ cluster, outbox, dice }, { nodes, balancer }) => {
      balancer.holdAnswersToInserts();
      await dice.pause(100, 1500);
      balancer.retarget(new URL(cluster.urlOf(dice.pick(nodes), outbox.slot)));
      balancer.cut();
      balancer.release();
    },
  },
  {
    name: 'the streamer is killed',
    part: 'streamer',
    act: async ({ dice }, shard) => {
      await shard.restart();
      await dice.pause(100, 2000);
    },
  },
  {
    name: 'the streamer is asked to end, and starts again',
    part: 'streamer',
    act: async ({ dice }, shard) => {
      const ended = shard.streamer.stop();
      await Promise.race([ended, dice.pause(4000, 8000)]);
      await shard.restart();
    },
  },
  {
    name: 'the streamer is frozen for a while',
    part: 'streamer',
    act: async ({ dice }, { streamer }) => {
      streamer.signal('SIGSTOP');
      await dice.pause(500, 9000);
      streamer.signal('SIGCONT');
    },
  },
  {
    name: 'a standby takes over from a frozen streamer, which wakes up',
    part: 'streamer',
    act: async ({ dice }, shard) => {
      const former = shard.streamer;
      former.signal('SIGSTOP');
      shard.streamer = shard.start();
      await dice.pause(6000, 12_000);
      former.signal('SIGCONT');
      await dice.pause(500, 3000);
      await former.kill();
    },
  },
  {
    name: 'Postgres is killed and starts again',
    part: 'Postgres',
    act: async ({ postgres, dice }) => {
      await postgres.kill();
      await dice.pause(100, 3000);
      await postgres.start();
    },
  },
  {
    name: 'the walsender is terminated',
    part: 'Postgres',
    act: async ({ outbox, dice }, { slot }) => {
      await outbox.postgres.query(
        'SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = $1 AND active',
        [slot],
      );
      await dice.pause(100, 2000);
    },
  },
  {
    name: 'the network to Postgres is cut',
    part: 'Postgres',
    act: async ({ network, dice }) => {
      network.cut();
      await dice.pause(100, 2000);
    },
  },
];
