import type { ClickHouse } from '../../clickhouse/client.ts';
import type { Limits } from '../../clickhouse/settings.ts';
import type { Places } from './places.ts';

/** ClickHouse, asked no more at once than there are places. */
export class Questions {
  readonly #clickhouse: ClickHouse;
  readonly #places: Places;

  constructor(clickhouse: ClickHouse, places: Places) {
    this.#clickhouse = clickhouse;
    this.#places = places;
  }

  /** As ClickHouse.selectWithin. Throws OUTBOX_CONSOLE_BUSY, too. */
  async selectWithin<Row>(
    limits: Limits,
    query: string,
    parameters: Record<string, unknown>,
    signal: AbortSignal,
  ): Promise<Row[]> {
    return this.#places.within(signal, async () =>
      this.#clickhouse.selectWithin<Row>(limits, query, parameters, signal),
    );
  }
}
