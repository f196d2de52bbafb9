import { expect, test } from 'vitest';
import { Outbox } from '../support/outbox.ts';

/**
 * Postgres 18 sends "stream abort" for a savepoint of a transaction, on whatever table, that was rolled back and outgrew
 * logical_decoding_work_mem, although no one asked for transactions in progress. Nothing of it was sent before, so it means
 * nothing.
 */
test('a large transaction on another table that is rolled back, with a savepoint in it, does not stop the stream', async () => {
  await using outbox = await Outbox.create();
  await outbox.postgres.query(`ALTER DATABASE ${outbox.slot} SET logical_decoding_work_mem = '64kB'`);
  await outbox.postgres.query('CREATE TABLE other (n int, text text)');
  const client = await outbox.postgres.connect();
  const fill = "INSERT INTO other SELECT n, repeat('x', 200) FROM generate_series(1, 2000) n";
  for (const query of ['BEGIN', 'SAVEPOINT here', "INSERT INTO other VALUES (0, '')", 'RELEASE here', fill, 'ROLLBACK'])
    await client.query(query);
  client.release();
  await outbox.fill(5);
  // it is decoded only now, when the outcome is known: whoever is behind sees it so
  const streamer = outbox.stream();
  await outbox.untilDelivered(5);
  expect(streamer.logs.filter(({ err }) => err !== undefined)).toEqual([]);
  expect(await streamer.stop()).toBe(0);
});
