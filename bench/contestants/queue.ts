import { catchUp } from '../contestant.ts';
import type { Contestant } from '../contestant.ts';
import { Warehouse } from '../warehouse.ts';
import { Worker } from '../worker.ts';

/** It is slow enough for a part of the backlog to say all. */
const PART = 1 / 10;

export const QUEUE: Contestant = {
  name: 'queue worker (JSON typed)',
  about: `what outboxes that poll do, written by hand: a loop takes 1,000 rows with FOR UPDATE SKIP LOCKED, inserts them as JSONEachRow, deletes them and commits. At least once: a crash before the commit doubles them. Its backlog is one in ${1 / PART} of the others’`,
  readsPeerTable: true,
  prepare: async (source, shape) => ({
    measure: async () => {
      const events = Math.round(shape.events * PART);
      await source.db.query(`
        DROP TABLE IF EXISTS peer.queue;
        CREATE TABLE peer.queue AS SELECT * FROM peer.event ORDER BY id LIMIT ${events};
        ALTER TABLE peer.queue ADD PRIMARY KEY (id)`);
      await using warehouse = await Warehouse.start();
      const environment = { DATABASE_URL: source.url, CLICKHOUSE_URL: warehouse.url };
      const start = async (): Promise<Worker> => Worker.start('queue-worker.ts', environment);
      return await catchUp({ source, events, warehouse, start, role: 'client' });
    },
    [Symbol.asyncDispose]: async () => undefined,
  }),
};
