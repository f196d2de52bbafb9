import { catchUp, type Contestant } from '../contestant.ts';
import { Warehouse } from '../warehouse.ts';
import { Worker } from '../worker.ts';

export const POLLING_JSON = polling('polling by postgresql() (JSON typed)', true);
export const POLLING_TEXT = polling('polling by postgresql() (text only)', false);

function polling(name: string, typed: boolean): Contestant {
  return {
    name,
    about:
      '`INSERT … SELECT FROM postgresql(…) WHERE id > (SELECT max(id) …)`, once a second. One statement copies all new rows. Postgres assigns ids before the commit, so polling misses rows of transactions that overlap',
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
