import { startClickHouse } from '../../src/embedded/clickhouse.ts';
import { startPostgres } from '../../src/embedded/postgres.ts';

/** Of another version than the newest: `npm run test:matrix`. */
const binaries = process.env['OUTBOX_TEST_POSTGRES'];
export const POSTGRES = binaries === undefined ? {} : { binaries };

export async function start() {
  const [postgres, clickhouse] = await Promise.all([startPostgres(POSTGRES), startClickHouse()]);
  return {
    postgresUrl: postgres.url,
    clickhouseUrl: clickhouse.url,
    dispose: async () => {
      await Promise.all([postgres.dispose(), clickhouse.dispose()]);
    },
  };
}
