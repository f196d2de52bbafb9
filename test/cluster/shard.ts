import type { ClickHouseClient } from '@clickhouse/client';
import { shareOf } from '../../src/streamer/share.ts';
import type { Dice } from '../faults/dice.ts';
import { CLUSTER, type Cluster, type Node } from '../support/cluster.ts';
import type { Outbox } from '../support/outbox.ts';
import { Proxy } from '../support/proxy.ts';
import type { Streamer } from '../support/streamer.ts';

export interface ShardOptions {
  readonly outbox: Outbox;
  readonly cluster: Cluster;
  readonly dice: Dice;
  /** From 1. */
  readonly number: number;
  /** Of the share that goes there. */
  readonly slot: string;
  /** The way to Postgres. */
  readonly databaseUrl: string;
  readonly hasQuorum: boolean;
}

/** The replicas of one shard, and a streamer that somebody starts again, which writes a share of the events to them. */
export class Shard implements AsyncDisposable {
  readonly slot: string;
  readonly nodes: readonly Node[];
  readonly clients: readonly ClickHouseClient[];
  /** A load balancer that leads to one replica at a time. */
  readonly balancer: Proxy;
  streamer: Streamer;
  readonly #options: ShardOptions;
  readonly #balancerUrl: string;

  private constructor(options: ShardOptions, nodes: readonly Node[], balancer: { proxy: Proxy; url: string }) {
    const { outbox, cluster, slot } = options;
    this.#options = options;
    this.#balancerUrl = balancer.url;
    this.slot = slot;
    this.nodes = nodes;
    this.clients = nodes.map((node) => cluster.clientOf(node, outbox.slot));
    this.balancer = balancer.proxy;
    this.streamer = this.start();
  }

  static async create(options: ShardOptions): Promise<Shard> {
    const { outbox, cluster, number } = options;
    const nodes = cluster.nodes.filter(({ shard }) => shard === number);
    return new Shard(options, nodes, await Proxy.to(new URL(cluster.urlOf(nodes[0]!, outbox.slot))));
  }

  /** By the balancer, or by the hosts of a URL, as often as not. */
  start(): Streamer {
    const { outbox, cluster, dice, databaseUrl, hasQuorum } = this.#options;
    const share = shareOf(this.slot);
    const url = new URL(cluster.urlOf(this.nodes[0]!, outbox.slot));
    const list = this.nodes.map((node) => new URL(node.url).host).join(',');
    return outbox.stream({
      DATABASE_URL: databaseUrl,
      CLICKHOUSE_URL: dice.chance(0.5) ? this.#balancerUrl : url.href.replace(url.host, list),
      OUTBOX_SHARD: share === undefined ? '' : `${share.number}/${share.count}`,
      OUTBOX_INSERT_TIMEOUT_MS: '3000',
      ...(hasQuorum ? { OUTBOX_CLICKHOUSE_CLUSTER: CLUSTER, OUTBOX_INSERT_QUORUM: 'auto' } : {}),
    });
  }

  async restart(): Promise<void> {
    await this.streamer.kill();
    this.streamer = this.start();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.clients.map((client) => client.close()));
    await this.balancer.close();
  }
}
