import { expect, test } from 'vitest';
import { Outbox } from '../support/outbox.ts';

/**
 * Postgres 18 sends "stream abort" for a savepoint when its transaction outgrew logical_decoding_work_mem and was rolled back.
 * It does so for any table, and although the streamer asks for no transactions in progress. Nothing of the transaction was sent
 * before, so the streamer must ignore the message.
 */
test('the streamer keeps streaming when a large transaction with a savepoint on another table is rolled back', async () => {
  await using outbox = await Outbox.create();
  await outbox.postgres.query(`ALTER DATABASE ${outbox.slot} SET logical_decoding_work_mem = '64kB'`);
  await outbox.postgres.query('CREATE TABLE other (n int, text text)');
  const client = await outbox.postgres.connect();
  const fill = "INSERT INTO other SELECT n, repeat('x', 200) FROM generate_series(1, 2000) n";
  for (const query of ['BEGIN', 'SAVEPOINT here', "INSERT INTO other VALUES (0, '')", 'RELEASE here', fill, 'ROLLBACK'])
    await client.query(query);
  client.release();
  await outbox.fill(5);
  // Postgres decodes the transaction only now, when its outcome is known, as for a streamer that is behind
  const streamer = outbox.stream();
  await outbox.untilDelivered(5);
  expect(streamer.logs.filter(({ err }) => err !== undefined)).toEqual([]);
  expect(await streamer.stop()).toBe(0);
});
