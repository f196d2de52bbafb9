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
      'what one writes first: the `LogicalReplicationService` and the `PgoutputPlugin` of pg-logical-replication with flow control, which make an object of each row; 10,000 objects, or those of a second, are an insert as JSONEachRow, and acknowledged after it. The next insert is filled meanwhile. No ledger, no tokens: it doubles rows after a crash',
    prepare: async (source, { events }) =>
      slotTurn(source, async (slot) => {
        await using warehouse = await Warehouse.start(typed);
        const environment = { DATABASE_URL: source.url, CLICKHOUSE_URL: warehouse.url, SLOT: slot };
        const start = async (): Promise<Worker> => Worker.start('naive-streamer.ts', environment);
        return await catchUp({ source, events, warehouse, start, role: 'streamer', slot });
      }),
  };
}
