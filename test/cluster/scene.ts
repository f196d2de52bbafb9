import { startPostgres, type EmbeddedPostgres } from '../../src/embedded/postgres.ts';
import { migrateClickHouse } from '../../src/streamer/commands/migrate-clickhouse.ts';
import { migratePostgres } from '../../src/streamer/commands/migrate-postgres.ts';
import { slotsOf } from '../../src/streamer/share.ts';
import type { Dice } from '../faults/dice.ts';
import { CLUSTER, Cluster, REPLICATED_VIEW } from '../support/cluster.ts';
import { Outbox, withDatabase } from '../support/outbox.ts';
import { Proxy } from '../support/proxy.ts';
import { eventually } from '../support/wait.ts';
import { Shard } from './shard.ts';

/** A look-up waits for the minutes in which a replica checks a part that Keeper may not know. */
const DRAIN_MS = 600_000;
const quiet = (): void => undefined;

/** What is attacked: the shards of a cluster, each with a share of one outbox, Keeper, and a Postgres of its own. */
export class Scene implements AsyncDisposable {
  readonly outbox: Outbox;
  readonly cluster: Cluster;
  readonly dice: Dice;
  readonly shards: readonly Shard[];
  readonly postgres: EmbeddedPostgres;
  /** The way of the streamers to Postgres. */
  readonly network: Proxy;
  readonly hasQuorum: boolean;
  /** Events whose COMMIT was answered. */
  acknowledged = 0;
  #writing: Promise<void> | undefined;
  #isWriting = true;

  private constructor(
    parts: Pick<Scene, 'outbox' | 'cluster' | 'dice' | 'shards' | 'postgres' | 'network' | 'hasQuorum'>,
  ) {
    this.outbox = parts.outbox;
    this.cluster = parts.cluster;
    this.dice = parts.dice;
    this.shards = parts.shards;
    this.postgres = parts.postgres;
    this.network = parts.network;
    this.hasQuorum = parts.hasQuorum;
  }

  /** With as many shares as the cluster has shards. */
  static async create(dice: Dice): Promise<Scene> {
    const cluster = await Cluster.reach();
    const postgres = await startPostgres();
    const outbox = await Outbox.create({ cluster: CLUSTER, postgresUrl: postgres.url, migrated: false });
    const slots = slotsOf(outbox.slot, Math.max(...cluster.nodes.map(({ shard }) => shard)));
    await migratePostgres(outbox.databaseUrl, slots[0]!, quiet);
    await migrateClickHouse(outbox.clickhouseUrl, { table: 'events', cluster: CLUSTER }, quiet);
    for (const query of REPLICATED_VIEW) await outbox.clickhouse.command({ query });
    const { proxy: network, url: databaseUrl } = await Proxy.to(new URL(withDatabase(postgres.url, outbox.slot)));
    // one that is lowered under way promises less than it is asked for here
    const hasQuorum = dice.chance(0.5);
    const shards = await Promise.all(
      slots.map(async (slot, index) =>
        Shard.create({ outbox, cluster, dice, number: index + 1, slot, databaseUrl, hasQuorum }),
      ),
    );
    return new Scene({ outbox, cluster, dice, shards, postgres, network, hasQuorum });
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
    // enough that each share has one of them: an idle stream acknowledges later
    const count = 64;
    await this.outbox.fill(count);
    this.acknowledged += count;
    const end = await this.outbox.walEnd();
    for (const { slot, streamer } of this.shards) {
      const isSettled = async (): Promise<boolean> =>
        (await this.outbox.confirmed(end, slot)) && (await this.outbox.ledger(slot))['pending_token'] === null;
      await eventually('all is settled', isSettled, DRAIN_MS).catch((error: unknown) => {
        const last = streamer.logs.slice(-5).map((line) => JSON.stringify(line));
        throw new Error(`${String(error)}, by\n${last.join('\n')}`);
      });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isWriting = false;
    await this.#writing;
    await this.outbox[Symbol.asyncDispose]();
    await Promise.all(this.shards.map((shard) => shard[Symbol.asyncDispose]()));
    await this.network.close();
    await this.postgres.dispose();
  }
}
