import { catchUp, slotTurn } from '../contestant.ts';
import type { Contestant } from '../contestant.ts';
import { Observer } from '../observer.ts';
import { Warehouse } from '../warehouse.ts';
import { Worker } from '../worker.ts';

export const STREAMER_JSON = streamer(
  'streamer (JSON typed)',
  'pg-outbox-clickhouse with all defaults, into the table that `migrate` makes',
);
export const STREAMER_TEXT = streamer(
  'streamer (text only)',
  'the same, into the same table without its column `event_context`',
  { typed: false },
);
export const STREAMER_OBSERVED = streamer(
  'streamer (JSON typed, observed)',
  'the first with traces and metrics by OTLP, and `/metrics` read each second; each transaction has a sampled trace of its own',
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
