import { expect, test } from 'vitest';
import { emitEvent } from '../../src/app/index.ts';
import { Outbox } from '../support/outbox.ts';

test('what is committed arrives, what is rolled back does not (invariant 1)', async () => {
  await using outbox = await Outbox.create();
  const streamer = outbox.stream();
  await streamer.attached();
  const client = await outbox.postgres.connect();
  const ids: string[] = [];
  for (const outcome of ['COMMIT', 'ROLLBACK', 'COMMIT']) {
    await client.query('BEGIN');
    const id = await emitEvent(client, { type: 'order.placed', context: { outcome } });
    await client.query('SAVEPOINT before');
    await emitEvent(client, { type: 'order.undone', context: {} });
    await client.query('ROLLBACK TO SAVEPOINT before');
    await client.query(outcome);
    if (outcome === 'COMMIT') ids.push(id);
  }
  client.release();
  await outbox.untilDelivered(2);
  expect(await streamer.stop()).toBe(0);
  const rows = await outbox.select<{ event_id: string }>('SELECT event_id FROM events ORDER BY lsn, seq');
  expect(rows.map((row) => row.event_id)).toEqual(ids);
});
