import { catchUp, slotTurn } from '../contestant.ts';
import type { Contestant } from '../contestant.ts';
import { Warehouse } from '../warehouse.ts';
import { Worker } from '../worker.ts';

export const NAIVE_JSON = naive('naive streamer (JSON typed)', true);
export const NAIVE_TEXT = naive('naive streamer (text only)', false);

function naive(name: string, typed: boolean): Contestant {
  return {
    name,
    about:
      'what one writes first: the driver’s `copyData` events, pgoutput as text, each value through the driver’s type parsers into an object a row (as the PgoutputPlugin of pg-logical-replication does), 10,000 objects an insert as JSONEachRow, acknowledged after it. No ledger, no tokens: it doubles rows after a crash',
    prepare: async (source, { events }) =>
      slotTurn(source, async (slot) => {
        await using warehouse = await Warehouse.start(typed);
        const environment = { DATABASE_URL: source.url, CLICKHOUSE_URL: warehouse.url, SLOT: slot };
        const start = async (): Promise<Worker> => Worker.start('naive-streamer.ts', environment);
        return await catchUp({ source, events, warehouse, start, role: 'streamer', slot });
      }),
  };
}
