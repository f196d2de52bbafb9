import { catchUp, slotTurn, type Contestant } from '../contestant.ts';
import { Proxy } from '../../test/support/proxy.ts';
import { Observer } from '../observer.ts';
import { Warehouse } from '../warehouse.ts';
import { Worker } from '../worker.ts';

export const STREAMER_JSON = streamer(
  'streamer (JSON typed)',
  'pg-outbox-clickhouse with all defaults, and the table that `migrate` creates',
);
export const STREAMER_TEXT = streamer(
  'streamer (text only)',
  'like streamer (JSON typed), but the table does not have the column `event_context`',
  { typed: false },
);
export const STREAMER_OBSERVED = streamer(
  'streamer (JSON typed, observed)',
  'like streamer (JSON typed), but it sends traces and metrics by OTLP, and a scraper reads `/metrics` every second. Each transaction has a sampled trace of its own',
  { observed: true },
);

/** 100 Mbit/s */
const LINK_BYTES_PER_SECOND = 12_500_000;
export const STREAMER_LINK = streamer(
  'streamer (JSON typed, 100 Mbit/s)',
  'like streamer (JSON typed), but all between it and ClickHouse passes a proxy that lets 12.5 MB a second through',
  { link: true },
);
export const STREAMER_LINK_ZSTD = streamer(
  'streamer (JSON typed, 100 Mbit/s, zstd)',
  'the same with OUTBOX_CLICKHOUSE_COMPRESSION=zstd',
  { link: true, compression: 'zstd' },
);
export const STREAMER_ZSTD = streamer(
  'streamer (JSON typed, zstd)',
  'like streamer (JSON typed), with OUTBOX_CLICKHOUSE_COMPRESSION=zstd',
  { compression: 'zstd' },
);

function streamer(
  name: string,
  about: string,
  { typed = true, observed = false, link = false, compression = 'off' } = {},
): Contestant {
  return {
    name,
    about,
    prepare: async (source, { events }) =>
      slotTurn(source, async (slot) => {
        await using warehouse = await Warehouse.start(typed);
        using observer = observed ? await Observer.start() : undefined;
        await using stack = new AsyncDisposableStack();
        const slow = link ? await Proxy.to(new URL(warehouse.url)) : undefined;
        if (slow !== undefined) stack.defer(async () => slow.proxy.close());
        slow?.proxy.drip(LINK_BYTES_PER_SECOND);
        const environment = {
          DATABASE_URL: source.url,
          CLICKHOUSE_URL: slow?.url ?? warehouse.url,
          OUTBOX_SLOT: slot,
          OUTBOX_CLICKHOUSE_COMPRESSION: compression,
          ...observer?.environment,
        };
        const start = async (): Promise<Worker> => Worker.stream(environment);
        return await catchUp({ source, events, warehouse, start, role: 'streamer', slot });
      }),
  };
}
