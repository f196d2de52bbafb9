import { createClient, type ClickHouseClient } from '@clickhouse/client';
import { expect, inject } from 'vitest';
import type { Outbox } from './outbox.ts';
import { eventually } from './wait.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** The address that controls the cluster under test: what it is told is in test/cluster/README.md. */
    clusterUrl: string;
  }
}

export interface Node {
  readonly name: string;
  readonly shard: number;
  readonly replica: number;
  /** Its HTTP port, without login. */
  readonly url: string;
  /** How many answers of commits it has lost. */
  readonly swallowed?: number;
}

export const LOGIN = { username: 'outbox', password: 'outbox' };
export const CLUSTER = 'c';

/** What ends, starts and freezes the parts of a real cluster. */
export class Cluster {
  readonly nodes: readonly Node[];
  readonly #control: string;

  private constructor(control: string, nodes: readonly Node[]) {
    this.#control = control;
    this.nodes = nodes;
  }

  /** The cluster of all tests. */
  static async reach(): Promise<Cluster> {
    const control = inject('clusterUrl');
    return new Cluster(control, (await (await fetch(control)).json()) as Node[]);
  }

  /** With login and database. */
  urlOf(node: Node, database: string): string {
    const url = new URL(node.url);
    Object.assign(url, LOGIN);
    url.pathname = `/${database}`;
    return url.href;
  }

  clientOf(node: Node, database: string): ClickHouseClient {
    return createClient({ url: node.url, ...LOGIN, database });
  }

  async kill(node: Node): Promise<void> {
    await this.#tell(`node/${node.name}/kill`);
  }

  async start(node: Node): Promise<void> {
    await this.#tell(`node/${node.name}/start`);
  }

  async pause(node: Node): Promise<void> {
    await this.#tell(`node/${node.name}/pause`);
  }

  async resume(node: Node): Promise<void> {
    await this.#tell(`node/${node.name}/resume`);
  }

  /** A node that has died by itself is started again, as a supervisor does. */
  async keepAlive(): Promise<void> {
    for (const node of this.nodes) {
      const isThere = await fetch(`${node.url}/ping`, { signal: AbortSignal.timeout(10_000) }).then(
        ({ ok }) => ok,
        () => false,
      );
      if (!isThere) await this.kill(node).then(async () => this.start(node));
    }
  }

  async keeper(what: 'kill' | 'start' | 'pause' | 'resume'): Promise<void> {
    await this.#tell(`keeper/${what}`);
  }

  /** Keeper has the next commit into a table whose path has `marker`, its answer never comes, and the node has no Keeper for so long. */
  async swallow(node: Node, marker: string, ms: number): Promise<void> {
    await this.#tell(`keeper/swallow?node=${node.name}&marker=${marker}&ms=${ms}`);
  }

  async swallowed(node: Node): Promise<number> {
    const nodes = (await (await fetch(this.#control)).json()) as Node[];
    return nodes.find(({ name }) => name === node.name)?.swallowed ?? 0;
  }

  async #tell(what: string): Promise<void> {
    const response = await fetch(`${this.#control}/${what}`, { method: 'POST' });
    if (!response.ok) throw new Error(`the cluster did not do ${what}: ${await response.text()}`);
  }
}

/**
 * Waits until a table is writable, and has what the others took, on every client.
 *
 * @param isChecked and until it shows nothing that Keeper may not know, which takes five minutes where it lost Keeper in a commit
 */
export async function untilWhole(
  clients: readonly ClickHouseClient[],
  table = 'events',
  isChecked = false,
): Promise<void> {
  for (const client of clients)
    await eventually(
      'the replica is whole',
      async () => {
        const result = await client
          .query({
            query: `SELECT toUInt8(NOT is_readonly AND inserts_in_queue = 0 AND log_pointer > log_max_index
${isChecked ? 'AND parts_to_check = 0' : ''}) AS yes
                      FROM system.replicas WHERE database = currentDatabase() AND table = '${table}'`,
            format: 'JSONEachRow',
          })
          .catch(() => undefined);
        return (await result?.json<{ yes: 0 | 1 }>())?.[0]?.yes === 1;
      },
      isChecked ? 600_000 : 120_000,
    );
}

/** A table that counts the events of each type, the same on all replicas, and the view that fills it. */
export const REPLICATED_VIEW: readonly string[] = [
  `CREATE TABLE counts ON CLUSTER ${CLUSTER} (event_type String, n UInt64)
     ENGINE = ReplicatedSummingMergeTree('/clickhouse/tables/{shard}/{database}/counts', '{replica}') ORDER BY event_type`,
  `CREATE MATERIALIZED VIEW counter ON CLUSTER ${CLUSTER} TO counts
     AS SELECT event_type, count() AS n FROM events GROUP BY event_type`,
];

export interface Held {
  readonly rows: string;
  readonly events: string;
  /** Of the view. */
  readonly viewed: string;
  /** Of the ids, in their order. */
  readonly digest: string;
}

/** What one replica holds, once it has all that the others took; see `untilWhole`. */
export async function heldBy(client: ClickHouseClient, isChecked = false): Promise<Held> {
  await untilWhole([client], 'events', isChecked);
  await untilWhole([client], 'counts', isChecked);
  const result = await client.query({
    query: `SELECT toString(count()) AS rows, toString(uniqExact(event_id)) AS events,
                   (SELECT toString(sum(n)) FROM counts) AS viewed, 
                   lower(hex(MD5(arrayStringConcat(arraySort(groupArray(toString(event_id))), ',')))) AS digest FROM events`,
    format: 'JSONEachRow',
  });
  const [held] = await result.json<Held>();
  return held!;
}

/** Every replica holds so many events, each once, and the view has counted each once. */
export async function expectExactly(clients: readonly ClickHouseClient[], events: number): Promise<void> {
  const all = String(events);
  for (const client of clients) expect(await heldBy(client)).toMatchObject({ rows: all, events: all, viewed: all });
}

/** Sends one event more, because an idle stream acknowledges later, and waits until all is settled. */
export async function untilSettled(outbox: Outbox): Promise<void> {
  await outbox.fill(1);
  const end = await outbox.walEnd();
  const isSettled = async (): Promise<boolean> =>
    (await outbox.confirmed(end)) && (await outbox.ledger())['pending_token'] === null;
  await eventually('all is settled', isSettled, 150_000);
}
