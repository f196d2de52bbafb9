import { catchUp, slotTurn, type Contestant } from '../contestant.ts';
import { Warehouse } from '../warehouse.ts';
import { Worker } from '../worker.ts';

export const NAIVE_JSON = naive('naive streamer (JSON typed)', true);
export const NAIVE_TEXT = naive('naive streamer (text only)', false);

function naive(name: string, typed: boolean): Contestant {
  return {
    name,
    about:
      'a typical first version: `LogicalReplicationService` and `PgoutputPlugin` of pg-logical-replication, with flow control, make an object of each row. An insert sends 10,000 objects, or those of one second, as JSONEachRow, while the next insert is filled. It acknowledges rows after their insert. It has no ledger and no tokens, so it duplicates rows after a crash',
    prepare: async (source, { events }) =>
      slotTurn(source, async (slot) => {
        await using warehouse = await Warehouse.start(typed);
        const environment = { DATABASE_URL: source.url, CLICKHOUSE_URL: warehouse.url, SLOT: slot };
        const start = async (): Promise<Worker> => Worker.start('naive-streamer.ts', environment);
        return await catchUp({ source, events, warehouse, start, role: 'streamer', slot });
      }),
  };
}
