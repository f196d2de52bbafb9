import { catchUp, type Contestant } from '../contestant.ts';
import type { Shape } from '../source.ts';
import { Warehouse } from '../warehouse.ts';
import { Worker } from '../worker.ts';

/** One request per event is so slow that a small part of the backlog is enough. */
export const PART = 1 / 1000;
export const IN_FLIGHT = 64;

export const DIRECT: Contestant = {
  name: 'an insert an event',
  about: `no outbox: the application sends one insert per event (JSONEachRow, ${IN_FLIGHT} in flight). It sends one event for every ${1 / PART} events of the other contestants`,
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

/** The number of events where each event is a request. */
export function partOf({ events }: Shape): number {
  return Math.max(IN_FLIGHT, Math.round(events * PART));
}
