import { expect, test } from 'vitest';
import { startPostgres } from '../../src/embedded/postgres.ts';
import { migratePostgres } from '../../src/streamer/commands/migrate-postgres.ts';
import { Streamer } from '../support/streamer.ts';

test('`migrate` and the streamer report that wal_level is not logical', async () => {
  // a server of its own: wal_level cannot be set for one database
  await using postgres = await startPostgres({ settings: { wal_level: 'replica', max_wal_senders: 0 } });
  await expect(migratePostgres(postgres.url, 'outbox', () => undefined)).rejects.toMatchObject({
    code: 'OUTBOX_PG_WAL_LEVEL',
  });
  const streamer = new Streamer({ DATABASE_URL: postgres.url, CLICKHOUSE_URL: 'http://nobody@127.0.0.1:1/none' });
  const { err } = await streamer.failure('OUTBOX_PG_WAL_LEVEL');
  expect(err?.next).toContain('ALTER SYSTEM SET wal_level = logical');
  expect(streamer.isRunning).toBe(true);
  expect(await streamer.stop()).toBe(0);
});
