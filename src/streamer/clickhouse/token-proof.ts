import type { ClickHouse } from './client.ts';
import type { TableName } from './absence.ts';
import { MIN_WINDOW_BLOCKS, type Target } from './views.ts';

/**
 * Proves that ClickHouse still remembers a token, in the table and in every table that a view fills: windows count blocks, and
 * few have come since.
 */
export class TokenProof {
  readonly #clickhouse: ClickHouse;
  readonly #target: Target;
  readonly #sinceMs: number;
  readonly #blocks: ReadonlyMap<string, number>;

  private constructor(clickhouse: ClickHouse, target: Target, sinceMs: number, blocks: ReadonlyMap<string, number>) {
    this.#clickhouse = clickhouse;
    this.#target = target;
    this.#sinceMs = sinceMs;
    this.#blocks = blocks;
  }

  /** @param sinceMs when the token was made, ms since 1970 */
  static async begin(
    clickhouse: ClickHouse,
    target: Target,
    sinceMs: number,
    signal: AbortSignal,
  ): Promise<TokenProof> {
    return new TokenProof(clickhouse, target, sinceMs, await blocksOf(clickhouse, target.tables, signal));
  }

  async holds(signal: AbortSignal): Promise<boolean> {
    if (Math.abs(Date.now() - this.#sinceMs) > this.#target.remembersMs / 2) return false;
    let grown = 0;
    for (const [partition, block] of await blocksOf(this.#clickhouse, this.#target.tables, signal)) {
      const more = block - (this.#blocks.get(partition) ?? 0);
      // a partition was dropped: its count begins at zero again
      if (more < 0) return false;
      grown += more;
    }
    return grown < MIN_WINDOW_BLOCKS / 2;
  }
}

/** The highest block number of each partition. Numbers are given to inserts, and by some engines in each partition from its own first one. */
async function blocksOf(
  clickhouse: ClickHouse,
  tables: readonly TableName[],
  signal: AbortSignal,
): Promise<Map<string, number>> {
  const names = tables.map(({ database, name }) => `${database}.${name}`);
  const rows = await clickhouse.select<{ partition: string; block: string }>(
    `SELECT concat(database, '.', table, '/', partition_id) AS partition, toString(max(max_block_number)) AS block
       FROM system.parts WHERE concat(database, '.', table) IN {names:Array(String)} GROUP BY partition`,
    { names },
    signal,
  );
  return new Map(rows.map(({ partition, block }) => [partition, Number(block)]));
}
