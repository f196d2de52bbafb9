import { catchUp, slotTurn } from '../contestant.ts';
import type { Contestant } from '../contestant.ts';
import { Warehouse } from '../warehouse.ts';
import { Worker } from '../worker.ts';

export const STREAMER_JSON = streamer('streamer (JSON typed)', true);
export const STREAMER_TEXT = streamer('streamer (text only)', false);

function streamer(name: string, typed: boolean): Contestant {
  return {
    name,
    about: typed
      ? 'pg-outbox-clickhouse with all defaults, into the table that `migrate` makes'
      : 'the same, into the same table without its column `event_context`',
    prepare: async (source, { events }) =>
      slotTurn(source, async (slot) => {
        await using warehouse = await Warehouse.start(typed);
        const environment = { DATABASE_URL: source.url, CLICKHOUSE_URL: warehouse.url, OUTBOX_SLOT: slot };
        const start = async (): Promise<Worker> => Worker.stream(environment);
        return await catchUp({ source, events, warehouse, start, role: 'streamer', slot });
      }),
  };
}
