import type { ClickHouseClient } from '@clickhouse/client';
import { startPostgres, type EmbeddedPostgres } from '../../src/embedded/postgres.ts';
import type { Dice } from '../faults/dice.ts';
import { CLUSTER, Cluster, REPLICATED_VIEW, type Node } from '../support/cluster.ts';
import { Outbox, withDatabase } from '../support/outbox.ts';
import { Proxy } from '../support/proxy.ts';
import type { Streamer } from '../support/streamer.ts';
import { eventually } from '../support/wait.ts';

const DRAIN_MS = 300_000;

/** What is attacked: the replicas of one shard, Keeper, a Postgres of its own, and a streamer that somebody starts again. */
export class Scene implements AsyncDisposable {
  readonly outbox: Outbox;
  readonly cluster: Cluster;
  readonly dice: Dice;
  readonly nodes: readonly Node[];
  readonly clients: readonly ClickHouseClient[];
  /** A load balancer that leads to one replica at a time. */
  readonly balancer: Proxy;
  readonly postgres: EmbeddedPostgres;
  /** The way of the streamer to Postgres. */
  readonly network: Proxy;
  readonly hasQuorum: boolean;
  streamer: Streamer;
  /** Events whose COMMIT was answered. */
  acknowledged = 0;
  readonly #urls: { readonly balancer: string; readonly network: string };
  #writing: Promise<void> | undefined;
  #isWriting = true;

  private constructor(
    parts: Pick<Scene, 'outbox' | 'cluster' | 'dice' | 'balancer' | 'postgres' | 'network'>,
    urls: { readonly balancer: string; readonly network: string },
  ) {
    const { outbox, cluster, dice, balancer, postgres, network } = parts;
    this.outbox = outbox;
    this.cluster = cluster;
    this.dice = dice;
    this.balancer = balancer;
    this.postgres = postgres;
    this.network = network;
    this.#urls = urls;
    // one that is lowered under way promises less than it is asked for here
    this.hasQuorum = dice.chance(0.5);
    this.nodes = cluster.nodes.filter(({ shard }) => shard === 1);
    this.clients = this.nodes.map((node) => cluster.clientOf(node, outbox.slot));
    this.streamer = this.start();
  }

  static async create(dice: Dice): Promise<Scene> {
    const cluster = await Cluster.reach();
    const postgres = await startPostgres();
    const outbox = await Outbox.create({ cluster: CLUSTER, postgresUrl: postgres.url });
    for (const query of REPLICATED_VIEW) await outbox.clickhouse.command({ query });
    const balancer = await Proxy.to(new URL(cluster.urlOf(cluster.nodes[0]!, outbox.slot)));
    const network = await Proxy.to(new URL(withDatabase(postgres.url, outbox.slot)));
    return new Scene(
      { outbox, cluster, dice, balancer: balancer.proxy, postgres, network: network.proxy },
      { balancer: balancer.url, network: network.url },
    );
  }

  /** By the balancer, or by the hosts of a URL, as often as not. */
  start(): Streamer {
    const url = new URL(this.cluster.urlOf(this.nodes[0]!, this.outbox.slot));
    const list = this.nodes.map((node) => new URL(node.url).host).join(',');
    return this.outbox.stream({
      DATABASE_URL: this.#urls.network,
      CLICKHOUSE_URL: this.dice.chance(0.5) ? this.#urls.balancer : url.href.replace(url.host, list),
      OUTBOX_INSERT_TIMEOUT_MS: '3000',
      ...(this.hasQuorum ? { OUTBOX_CLICKHOUSE_CLUSTER: CLUSTER, OUTBOX_INSERT_QUORUM: 'auto' } : {}),
    });
  }

  async restart(): Promise<void> {
    await this.streamer.kill();
    this.streamer = this.start();
  }

  /** Begins to write, as applications do: through whatever happens to Postgres. */
  write(): void {
    this.#writing = this.#write();
  }

  async #write(): Promise<void> {
    while (this.#isWriting) {
      const count = this.dice.between(1, 60);
      try {
        await this.outbox.fill(count, `type-${this.dice.between(1, 5)}`);
        this.acknowledged += count;
      } catch {
        // Postgres is away, and whether it has these is not known
      }
      await this.dice.pause(20, 150);
    }
  }

  /** Ends writing, and waits until all that was written is settled. */
  async drain(): Promise<void> {
    this.#isWriting = false;
    await this.#writing;
    await this.outbox.fill(1);
    this.acknowledged++;
    const end = await this.outbox.walEnd();
    const isSettled = async (): Promise<boolean> =>
      (await this.outbox.confirmed(end)) && (await this.outbox.ledger())['pending_token'] === null;
    await eventually('all is settled', isSettled, DRAIN_MS).catch((error: unknown) => {
      const last = this.streamer.logs.slice(-5).map((line) => JSON.stringify(line));
      throw new Error(`${String(error)}, by\n${last.join('\n')}`);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isWriting = false;
    await this.#writing;
    await Promise.all(this.clients.map((client) => client.close()));
    await this.outbox[Symbol.asyncDispose]();
    await Promise.all([this.balancer.close(), this.network.close()]);
    await this.postgres.dispose();
  }
}
