import { startClickHouse } from '../../src/embedded/clickhouse.ts';
import { startPostgres } from '../../src/embedded/postgres.ts';

export async function start() {
  const [postgres, clickhouse] = await Promise.all([startPostgres(), startClickHouse()]);
  return {
    postgresUrl: postgres.url,
    clickhouseUrl: clickhouse.url,
    dispose: async () => {
      await Promise.all([postgres.dispose(), clickhouse.dispose()]);
    },
  };
}
