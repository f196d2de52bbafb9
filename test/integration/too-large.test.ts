import { expect, test } from 'vitest';
import { startClickHouse } from '../../src/embedded/clickhouse.ts';
import { ClickHouse } from '../../src/streamer/clickhouse/client.ts';
import { migrateClickHouse } from '../../src/streamer/commands/migrate-clickhouse.ts';
import { Outbox } from '../support/outbox.ts';
import { COUNTING_VIEW } from '../support/view.ts';
import { eventually } from '../support/wait.ts';

/** What the table has, and what its view has counted. */
async function counts(clickhouse: ClickHouse): Promise<Record<string, string>> {
  const [found] = await clickhouse.select<Record<string, string>>(
    `SELECT toString(count()) AS rows, toString(uniqExact(event_id)) AS events,
            (SELECT toString(sum(n)) FROM counts) AS viewed FROM events`,
  );
  return found!;
}

test('the streamer splits batches that exceed ClickHouse’s memory limit, shrinks later ones, delivers once (invariant 7)', async () => {
  await using outbox = await Outbox.create();
  await using server = await startClickHouse({ settings: { max_memory_usage: 50_000_000 } });
  const clickhouse = new ClickHouse(server.url, 30_000);
  await migrateClickHouse(server.url, { table: 'events' }, () => undefined);
  for (const query of COUNTING_VIEW) await clickhouse.command(query);
  const rows = 120_000;
  await outbox.postgres.query(
    `INSERT INTO outbox.event (event_type, event_context)
     SELECT 'test.keys', json_build_object(gen_random_uuid()::text, n, gen_random_uuid()::text, repeat('x', 200)) FROM generate_series(1, ${rows}) n`,
  );
  const streamer = outbox.stream({
    CLICKHOUSE_URL: server.url,
    OUTBOX_FLUSH_INTERVAL_MS: '2000',
    OUTBOX_BATCH_MAX_ROWS: '20000',
  });
  const split = await streamer.log(({ msg }) => msg === 'ClickHouse rejects an insert again and again: splitting it');
  expect(split.err).toMatchObject({ code: 'OUTBOX_CH_UNAVAILABLE', clickhouseCode: 241 });
  await eventually('all is delivered', async () => (await counts(clickhouse))['events'] === String(rows), 90_000);
  await eventually('all is settled', async () => (await outbox.ledger())['pending_token'] === null);
  expect(await counts(clickhouse)).toEqual({ rows: String(rows), events: String(rows), viewed: String(rows) });
  const { rowCount } = await outbox.postgres.query('SELECT FROM outbox.quarantine');
  expect(rowCount).toBe(0);
  // without smaller batches ClickHouse would have rejected seven; later ones are small enough at once
  expect(streamer.logs.filter(({ msg }) => msg === split.msg).length).toBeLessThan(4);
  expect(await streamer.stop()).toBe(0);
  await clickhouse.close();
}, 180_000);

test('the streamer splits an insert that takes longer than its time limit, and delivers once (invariant 7)', async () => {
  await using outbox = await Outbox.create();
  await outbox.addView();
  // two milliseconds a row
  await outbox.clickhouse.command({
    query: "ALTER TABLE events ADD COLUMN slow UInt8 DEFAULT if(event_type = 'test.filled', sleepEachRow(0.002), 0)",
  });
  const streamer = outbox.stream({ OUTBOX_INSERT_TIMEOUT_MS: '1000' });
  await outbox.fill(1000);
  const split = await streamer.log(({ msg }) => msg === 'ClickHouse rejects an insert again and again: splitting it');
  expect(split.err).toMatchObject({ code: 'OUTBOX_CH_UNAVAILABLE', clickhouseCode: 159 });
  await outbox.untilDelivered(1000);
  await eventually('all is settled', async () => (await outbox.ledger())['pending_token'] === null);
  expect(await outbox.delivered()).toEqual({ rows: 1000, events: 1000 });
  expect(await outbox.viewed()).toBe(1000);
  expect(await streamer.stop()).toBe(0);
}, 120_000);

test('the streamer sets aside an event that alone exceeds ClickHouse’s memory limit while others are taken, and delivers those (invariant 7)', async () => {
  await using outbox = await Outbox.create();
  await using server = await startClickHouse({ settings: { max_memory_usage: 100_000_000 } });
  const clickhouse = new ClickHouse(server.url, 30_000);
  await migrateClickHouse(server.url, { table: 'events' }, () => undefined);
  for (const query of COUNTING_VIEW) await clickhouse.command(query);
  await clickhouse.command(
    "ALTER TABLE events ADD COLUMN large UInt64 DEFAULT length(repeat(event_type, if(event_type = 'large', 40000000, 0)))",
  );
  const streamer = outbox.stream({ CLICKHOUSE_URL: server.url, OUTBOX_RETRY_MAX_MS: '100' });
  await outbox.fill(20);
  await outbox.fill(1, 'large');
  await outbox.fill(20);
  await eventually('the others are delivered', async () => (await counts(clickhouse))['events'] === '40', 60_000);
  await eventually('all is settled', async () => (await outbox.ledger())['pending_token'] === null);
  expect(await counts(clickhouse)).toEqual({ rows: '40', events: '40', viewed: '40' });
  const { rows } = await outbox.postgres.query('SELECT event_type, clickhouse_code FROM outbox.quarantine');
  expect(rows).toEqual([{ event_type: 'large', clickhouse_code: 241 }]);
  expect(await streamer.stop()).toBe(0);
  await clickhouse.close();
}, 120_000);
