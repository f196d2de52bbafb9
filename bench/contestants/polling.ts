import { catchUp } from '../contestant.ts';
import type { Contestant } from '../contestant.ts';
import { Warehouse } from '../warehouse.ts';
import { Worker } from '../worker.ts';

export const POLLING_JSON = polling('polling by postgresql() (JSON typed)', true);
export const POLLING_TEXT = polling('polling by postgresql() (text only)', false);

function polling(name: string, typed: boolean): Contestant {
  return {
    name,
    about:
      '`INSERT … SELECT FROM postgresql(…) WHERE id > (SELECT max(id) …)`, once a second: one statement takes all that waits. Ids are given before they commit, so it skips rows of transactions that overlap',
    readsPeerTable: true,
    prepare: async (source, { events }) => ({
      measure: async () => {
        await using warehouse = await Warehouse.start(typed);
        await warehouse.command('ALTER TABLE events ADD COLUMN id Int64');
        const environment = { POSTGRES_URL: source.url, CLICKHOUSE_URL: warehouse.url };
        const start = async (): Promise<Worker> => Worker.start('poller.ts', environment);
        return await catchUp({ source, events, warehouse, start, role: 'client' });
      },
      [Symbol.asyncDispose]: async () => undefined,
    }),
  };
}
