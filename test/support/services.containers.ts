import { GenericContainer, Wait } from 'testcontainers';

const POSTGRES_IMAGE = 'postgres:18';
const CLICKHOUSE_IMAGE = 'clickhouse/clickhouse-server:26.7';

export async function start() {
  const [postgres, clickhouse] = await Promise.all([
    new GenericContainer(POSTGRES_IMAGE)
      .withEnvironment({ POSTGRES_PASSWORD: 'postgres' })
      .withCommand([
        'postgres',
        '-c',
        'wal_level=logical',
        '-c',
        'max_replication_slots=20',
        '-c',
        'max_wal_senders=20',
      ])
      .withExposedPorts(5432)
      // the server starts twice: once for its own set-up, without TCP
      .withWaitStrategy(Wait.forListeningPorts())
      .start(),
    new GenericContainer(CLICKHOUSE_IMAGE)
      .withEnvironment({
        CLICKHOUSE_USER: 'outbox',
        CLICKHOUSE_PASSWORD: 'outbox',
        CLICKHOUSE_DEFAULT_ACCESS_MANAGEMENT: '1',
      })
      .withExposedPorts(8123)
      .withWaitStrategy(Wait.forHttp('/ping', 8123))
      .start(),
  ]);
  return {
    postgresUrl: `postgres://postgres:postgres@${postgres.getHost()}:${postgres.getMappedPort(5432)}/postgres`,
    clickhouseUrl: `http://outbox:outbox@${clickhouse.getHost()}:${clickhouse.getMappedPort(8123)}/default`,
    dispose: async () => {
      await Promise.all([postgres.stop(), clickhouse.stop()]);
    },
  };
}
