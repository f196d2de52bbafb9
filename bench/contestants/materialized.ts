import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Contestant } from '../contestant.ts';
import type { Figures } from '../figures.ts';
import { Meter } from '../meter.ts';
import { Warehouse } from '../warehouse.ts';
import { Source } from '../source.ts';

/**
 * Set up as its documentation says: the table has a primary key, the user may replicate, the database names its tables. Each
 * repetition has a Postgres of its own: engines that replicate the same database share a publication, and each creates it again.
 */
export const MATERIALIZED: Contestant = {
  name: 'MaterializedPostgreSQL',
  about:
    'the database engine of ClickHouse, which copies the table and keeps the copy up to date as a ReplacingMergeTree. It is set up before the backlog is committed, and stopped while it is committed. Contexts are String',
  prepare: async (_, shape) => {
    const directory = await mkdtemp(join(tmpdir(), 'bench-materialized-'));
    const source = await Source.start();
    await setUp(source, directory);
    await source.addBacklog(shape, 'peer.event');
    return {
      measure: async () => measure(source, directory, shape.events),
      [Symbol.asyncDispose]: async () => {
        await rm(directory, { recursive: true, force: true });
        await source[Symbol.asyncDispose]();
      },
    };
  },
};

async function setUp(source: Source, directory: string): Promise<void> {
  await using warehouse = await Warehouse.attach(directory);
  const { host, port } = source.server;
  const { username, password, pathname } = new URL(source.url);
  await warehouse.command(
    `CREATE DATABASE peer ENGINE = MaterializedPostgreSQL('${host}:${port}', '${pathname.slice(1)}', '${username}', '${password}')
       SETTINGS materialized_postgresql_schema = 'peer', materialized_postgresql_tables_list = 'event'`,
    { allow_experimental_database_materialized_postgresql: 1 },
  );
  while (
    (await warehouse.select("SELECT 1 AS there FROM system.tables WHERE database = 'peer' AND name = 'event'"))
      .length === 0
  )
    await sleep(100);
}

/** The clock includes the start of the server, which takes a few tenths of a second. */
async function measure(source: Source, directory: string, events: number): Promise<Figures> {
  using meter = await Meter.begin(source.pid);
  const began = performance.now();
  await using warehouse = await Warehouse.attach(directory);
  meter.watch('ClickHouse', warehouse.pid, 'its birth');
  // a count in the engine's own table would read all of it, with FINAL, each time
  const there = async (): Promise<number> => {
    const [found] = await warehouse.select<{ n: number }>(
      "SELECT sum(rows) AS n FROM system.parts WHERE active AND database = 'peer'",
    );
    return found!.n;
  };
  await warehouse.until(events, undefined, there);
  const seconds = (performance.now() - began) / 1000;
  const costs = await meter.read();
  const { parts } = await warehouse.written();
  return { events, seconds, ...costs, parts, ...(await warehouse.verify('peer.event')) };
}
