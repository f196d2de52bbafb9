import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Client } from 'pg';
import { emittedEvents } from 'pg-outbox-clickhouse/testing';
import { transfer } from './transfer.ts';

test('a transfer emits what it did, in a transaction that is rolled back', async () => {
  const client = new Client(process.env['DATABASE_URL']);
  await client.connect();
  try {
    await client.query('BEGIN');
    await transfer(client, { from: 'ada', to: 'bob', amount: 5 });
    const [event] = await emittedEvents(client);
    assert.equal(event?.type, 'money.moved');
    assert.deepEqual(event.context, { from: 'ada', to: 'bob', amount: 5 });
    await client.query('ROLLBACK');
  } finally {
    await client.end();
  }
});
