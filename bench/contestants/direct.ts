import { catchUp } from '../contestant.ts';
import type { Contestant } from '../contestant.ts';
import type { Shape } from '../source.ts';
import { Warehouse } from '../warehouse.ts';
import { Worker } from '../worker.ts';

/** A request for each event is so slow that a part of the backlog says enough. */
export const PART = 1 / 1000;
export const IN_FLIGHT = 64;

export const DIRECT: Contestant = {
  name: 'an insert an event',
  about: `no outbox: the application inserts each event by a request of its own (JSONEachRow, ${IN_FLIGHT} in flight). Its events are one in ${1 / PART} of the others’`,
  prepare: async (_, shape) => ({
    measure: async () => {
      await using warehouse = await Warehouse.start();
      const events = partOf(shape);
      const environment = { CLICKHOUSE_URL: warehouse.url, EVENTS: String(events), IN_FLIGHT: String(IN_FLIGHT) };
      const start = async (): Promise<Worker> => Worker.start('direct-inserts.ts', environment);
      return await catchUp({ events, warehouse, start, role: 'client' });
    },
    [Symbol.asyncDispose]: async () => undefined,
  }),
};

/** So many events, when each is a request. */
export function partOf({ events }: Shape): number {
  return Math.max(IN_FLIGHT, Math.round(events * PART));
}
