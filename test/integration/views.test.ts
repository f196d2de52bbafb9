import { expect, test } from 'vitest';
import { Outbox } from '../support/outbox.ts';
import { eventually } from '../support/wait.ts';

test('the streamer reports a view that throws, and waits; after the fix the view counts each event once (invariant 7)', async () => {
  await using outbox = await Outbox.create();
  const sql = async (query: string): Promise<unknown> => outbox.clickhouse.command({ query });
  await sql(
    'CREATE TABLE totals (day Date, total UInt64) ENGINE = SummingMergeTree ORDER BY day SETTINGS non_replicated_deduplication_window = 1000',
  );
  await sql(
    "CREATE MATERIALIZED VIEW summer TO totals AS SELECT toDate(committed_at) AS day, throwIf(event_type = 'test.filled') + count() AS total FROM events GROUP BY day, event_type",
  );
  const streamer = outbox.stream();
  await streamer.attached();
  await outbox.fill(300);
  const line = await streamer.failure('OUTBOX_CH_VIEW_FAILED');
  expect(line.err?.next).toContain('Fix or drop the view');
  const { pending_token: token } = await outbox.ledger();
  expect(token).not.toBeNull();
  // later events wait behind it
  await outbox.fill(7, 'test.later');
  await sql(
    'ALTER TABLE summer MODIFY QUERY SELECT toDate(committed_at) AS day, count() AS total FROM events GROUP BY day',
  );
  await outbox.untilDelivered(307);
  await eventually('all is settled', async () => (await outbox.ledger())['pending_token'] === null);
  expect(await streamer.stop()).toBe(0);
  expect(await outbox.delivered()).toEqual({ rows: 307, events: 307 });
  expect(await outbox.select('SELECT sum(total) AS total FROM totals')).toEqual([{ total: 307 }]);
});
