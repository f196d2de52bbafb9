import type { StopMode } from '../../../src/embedded/postgres.ts';
import type { Dice } from '../dice.ts';
import { MOMENT_MS, type Fault } from '../fault.ts';
import type { World } from '../world.ts';

/** Most stay away for a moment only. */
async function away(dice: Dice): Promise<void> {
  await (dice.chance(0.7) ? dice.pause(0, 300) : dice.pause(1000, 3000));
}

function stopPostgres(mode: StopMode): Fault['inject'] {
  return async ({ postgres }, dice) => {
    await postgres.stop(mode);
    await away(dice);
    await postgres.start();
    return true;
  };
}

async function terminate(world: World, condition: string): Promise<boolean> {
  return world.within(MOMENT_MS, async () => {
    const terminated = await world.ask(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'pg-outbox-clickhouse%' AND ${condition}`,
    );
    return terminated.length > 0;
  });
}

/** Faults of the databases themselves. */
export const SERVER_FAULTS: readonly Fault[] = [
  // a fast stop waits until the streamer has acknowledged everything, which it must be able to do
  {
    name: 'Postgres: stop fast',
    touches: ['Postgres', 'link to Postgres', 'link to ClickHouse', 'streamer', 'ClickHouse', 'inserts'],
    inject: stopPostgres('fast'),
  },
  { name: 'Postgres: stop immediate', touches: ['Postgres'], inject: stopPostgres('immediate') },
  {
    name: 'Postgres: SIGKILL',
    touches: ['Postgres'],
    inject: async ({ postgres }, dice) => {
      await postgres.kill();
      await away(dice);
      await postgres.start();
      return true;
    },
  },
  {
    name: 'Postgres: the walsender is terminated',
    touches: ['Postgres'],
    inject: async (world) => terminate(world, "backend_type = 'walsender'"),
  },
  {
    name: 'Postgres: the connection to the ledger is terminated',
    touches: ['Postgres'],
    inject: async (world) => terminate(world, "backend_type <> 'walsender'"),
  },
  {
    name: 'ClickHouse: SIGKILL',
    touches: ['ClickHouse'],
    inject: async ({ clickhouse }, dice) => {
      await clickhouse.kill();
      await away(dice);
      await clickhouse.start();
      return true;
    },
  },
  {
    name: 'ClickHouse: stop',
    touches: ['ClickHouse'],
    inject: async ({ clickhouse }, dice) => {
      await clickhouse.stop();
      await away(dice);
      await clickhouse.start();
      return true;
    },
  },
  {
    name: 'ClickHouse: paused',
    touches: ['ClickHouse'],
    inject: async ({ clickhouse }, dice) => {
      clickhouse.pause();
      // sometimes longer than an insert may take
      await dice.pause(300, 6500);
      clickhouse.resume();
      return true;
    },
  },
];
