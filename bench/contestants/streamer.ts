import { catchUp, slotTurn, type Contestant } from '../contestant.ts';
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

function streamer(name: string, about: string, { typed = true, observed = false } = {}): Contestant {
  return {
    name,
    about,
    prepare: async (source, { events }) =>
      slotTurn(source, async (slot) => {
        await using warehouse = await Warehouse.start(typed);
        using observer = observed ? await Observer.start() : undefined;
        const environment = {
          DATABASE_URL: source.url,
          CLICKHOUSE_URL: warehouse.url,
          OUTBOX_SLOT: slot,
          ...observer?.environment,
        };
        const start = async (): Promise<Worker> => Worker.stream(environment);
        return await catchUp({ source, events, warehouse, start, role: 'streamer', slot });
      }),
  };
}
