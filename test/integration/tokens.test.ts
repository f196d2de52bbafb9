import { truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { startClickHouse } from '../../src/embedded/clickhouse.ts';
import { ClickHouse } from '../../src/streamer/clickhouse/client.ts';
import { onFreePort } from '../../src/embedded/ports.ts';
import { Outbox } from '../support/outbox.ts';
import { Proxy } from '../support/proxy.ts';
import { Scrape } from '../support/scrape.ts';
import { unanswered } from '../support/unanswered.ts';
import { eventually } from '../support/wait.ts';

const COUNT = 500;
const SETTING = 'ALTER TABLE events MODIFY SETTING non_replicated_deduplication_window';

async function forgetTokens(outbox: Outbox): Promise<void> {
  await outbox.clickhouse.command({ query: `${SETTING} = 0` });
  await outbox.clickhouse.command({ query: `${SETTING} = 10000` });
}

async function settled(outbox: Outbox): Promise<void> {
  await eventually('the insert is settled', async () => (await outbox.ledger())['pending_token'] === null, 60_000);
}

test.concurrent('the streamer reads back a pending insert whose token may be forgotten, and does not repeat it', async () => {
  await using outbox = await Outbox.create();
  const { proxy, streamer } = await unanswered(outbox, { rows: COUNT });
  await streamer.kill();
  await proxy.close();
  await forgetTokens(outbox);
  await outbox.postgres.query(
    "UPDATE outbox.stream SET pending_at = pending_at - interval '1 hour' WHERE slot_name = $1",
    [outbox.slot],
  );
  const successor = outbox.stream({ OUTBOX_INSERT_TIMEOUT_MS: '1000' });
  await settled(outbox);
  await outbox.fill(1);
  await outbox.untilDelivered(COUNT + 1);
  expect(await successor.stop()).toBe(0);
  expect(await outbox.delivered()).toEqual({ rows: COUNT + 1, events: COUNT + 1 });
});

test.concurrent('the streamer reads back a pending insert when ClickHouse has another version than the ledger says, and has forgotten tokens', async () => {
  await using outbox = await Outbox.create();
  const { proxy, streamer } = await unanswered(outbox, { rows: COUNT });
  await streamer.kill();
  await proxy.close();
  await forgetTokens(outbox);
  expect((await outbox.ledger())['target']).toMatch(/^\d+\.\d+\.\d+\.\d+ /);
  await outbox.postgres.query(
    "UPDATE outbox.stream SET target = regexp_replace(target, '^\\S+', '26.1.1.1') WHERE slot_name = $1",
    [outbox.slot],
  );
  const successor = outbox.stream({ OUTBOX_INSERT_TIMEOUT_MS: '1000' });
  await settled(outbox);
  expect(await successor.stop()).toBe(0);
  expect(await outbox.delivered()).toEqual({ rows: COUNT, events: COUNT });
});

test.concurrent('the streamer sends an old pending insert that never arrived', async () => {
  await using outbox = await Outbox.create();
  const { proxy, url } = await Proxy.to(new URL(outbox.clickhouseUrl));
  const streamer = outbox.stream({ CLICKHOUSE_URL: url });
  await outbox.fill(1);
  await outbox.untilDelivered(1);
  await settled(outbox);
  proxy.holdRequests();
  await outbox.fill(COUNT);
  await eventually('an intent', async () => (await outbox.ledger())['pending_token']);
  await streamer.kill();
  await proxy.close();
  await outbox.postgres.query(
    "UPDATE outbox.stream SET pending_at = pending_at - interval '1 hour' WHERE slot_name = $1",
    [outbox.slot],
  );
  const successor = outbox.stream({ OUTBOX_INSERT_TIMEOUT_MS: '1000' });
  await settled(outbox);
  expect(await successor.stop()).toBe(0);
  expect(await outbox.delivered()).toEqual({ rows: COUNT + 1, events: COUNT + 1 });
});

test.concurrent('the streamer reads back an unanswered insert when the token window was off meanwhile (invariant 8)', async () => {
  await using outbox = await Outbox.create();
  const { proxy, streamer } = await unanswered(outbox, {
    rows: COUNT,
    environment: { OUTBOX_INSERT_TIMEOUT_MS: '3000' },
  });
  await outbox.clickhouse.command({ query: `${SETTING} = 0` });
  proxy.release();
  proxy.cut();
  await streamer.failure('OUTBOX_CH_TABLE_UNSUITABLE');
  expect(await outbox.delivered()).toEqual({ rows: COUNT, events: COUNT });
  await outbox.clickhouse.command({ query: `${SETTING} = 10000` });
  await settled(outbox);
  expect(await outbox.delivered()).toEqual({ rows: COUNT, events: COUNT });
  expect(await streamer.stop()).toBe(0);
  await proxy.close();
});

test.concurrent('the streamer delivers once and reports unproven views when a view throws and tokens are lost (invariants 4 and 7)', async () => {
  await using outbox = await Outbox.create();
  const sql = async (query: string): Promise<unknown> => outbox.clickhouse.command({ query });
  await sql(
    'CREATE TABLE totals (n UInt64) ENGINE = SummingMergeTree ORDER BY tuple() SETTINGS non_replicated_deduplication_window = 1000',
  );
  await sql('CREATE MATERIALIZED VIEW throwing TO totals AS SELECT throwIf(1) + count() AS n FROM events');
  const port = await onFreePort(0, async (free) => free);
  const { proxy, url } = await Proxy.to(new URL(outbox.clickhouseUrl));
  const streamer = outbox.stream({
    CLICKHOUSE_URL: url,
    OUTBOX_INSERT_TIMEOUT_MS: '1000',
    OUTBOX_HEALTH_PORT: String(port),
  });
  await streamer.attached();
  await outbox.fill(COUNT);
  await streamer.failure('OUTBOX_CH_VIEW_FAILED');
  // nothing may come between its look at the window and its insert
  proxy.isolate();
  await streamer.failure('OUTBOX_CH_UNREACHABLE');
  await sql(`${SETTING} = 0`);
  proxy.release();
  proxy.cut();
  await streamer.failure('OUTBOX_CH_TABLE_UNSUITABLE');
  await outbox.clickhouse.command({ query: `${SETTING} = 10000` });
  await streamer.failure('OUTBOX_CH_VIEWS_UNPROVEN');
  await settled(outbox);
  expect((await Scrape.of(port)).value('outbox_views_unproven_total')).toBe(COUNT);
  expect(await streamer.stop()).toBe(0);
  await proxy.close();
  expect(await outbox.delivered()).toEqual({ rows: COUNT, events: COUNT });
});

test.concurrent('the successor of a killed streamer reads back an insert when the token window was off meanwhile (invariant 8)', async () => {
  await using outbox = await Outbox.create();
  const { proxy, streamer } = await unanswered(outbox, {
    rows: COUNT,
    environment: { OUTBOX_INSERT_TIMEOUT_MS: '1000' },
  });
  await outbox.clickhouse.command({ query: `${SETTING} = 0` });
  proxy.release();
  proxy.cut();
  await streamer.failure('OUTBOX_CH_TABLE_UNSUITABLE');
  await streamer.kill();
  await proxy.close();
  await outbox.clickhouse.command({ query: `${SETTING} = 10000` });
  const successor = outbox.stream({ OUTBOX_INSERT_TIMEOUT_MS: '1000' });
  await settled(outbox);
  expect(await successor.stop()).toBe(0);
  expect(await outbox.delivered()).toEqual({ rows: COUNT, events: COUNT });
});

test.concurrent('the streamer names each view whose target forgets tokens', async () => {
  await using outbox = await Outbox.create();
  const sql = async (query: string): Promise<unknown> => outbox.clickhouse.command({ query });
  await sql('CREATE TABLE forgetful (n UInt64) ENGINE = SummingMergeTree ORDER BY tuple()');
  await sql('CREATE MATERIALIZED VIEW counting TO forgetful AS SELECT count() AS n FROM events');
  await sql(
    'CREATE MATERIALIZED VIEW storing ENGINE = SummingMergeTree ORDER BY tuple() AS SELECT count() AS n FROM events',
  );
  await sql(
    'CREATE TABLE faithful (n UInt64) ENGINE = SummingMergeTree ORDER BY tuple() SETTINGS non_replicated_deduplication_window = 1000',
  );
  await sql('CREATE MATERIALIZED VIEW sound TO faithful AS SELECT count() AS n FROM events');
  // a view on what a sound view fills
  await sql('CREATE MATERIALIZED VIEW cascading ENGINE = Memory AS SELECT n FROM faithful');
  const streamer = outbox.stream();
  const { err } = await streamer.failure('OUTBOX_CH_VIEW_FORGETS');
  const named = err?.problems?.map((problem) => problem.split(' ')[0]).toSorted();
  expect(named).toEqual(['cascading', 'counting', 'storing'].map((view) => `${outbox.slot}.${view}`));
});

test.concurrent('ClickHouse ignores a repeated insert even if the user’s profile switches deduplication off', async () => {
  // a server of its own, whose default profile can be given
  await using server = await startClickHouse({
    settings: { deduplicate_insert: 'disable', insert_deduplicate: 0, async_insert: 1 },
  });
  const clickhouse = new ClickHouse(server.url, 10_000);
  await clickhouse.command(
    'CREATE TABLE t (n UInt8) ENGINE = MergeTree ORDER BY n SETTINGS non_replicated_deduplication_window = 100',
  );
  for (const queryId of ['a', 'b', 'c']) {
    const insert = { query: 'INSERT INTO t FORMAT CSV', parameters: {}, rows: 2, token: 'same', queryId };
    await clickhouse.insert({ ...insert, body: [Buffer.from('1\n2\n')] }, new AbortController().signal);
  }
  expect(await clickhouse.select('SELECT count()::UInt8 AS n FROM t')).toEqual([{ n: 2 }]);
  await clickhouse.close();
});

test('a repeated insert whose part ClickHouse found broken at its start is sent again, and counts once (invariant 4)', async () => {
  await using clickhouse = await startClickHouse();
  await using outbox = await Outbox.create({ clickhouseUrl: clickhouse.url });
  const environment = { OUTBOX_INSERT_TIMEOUT_MS: '1000' };
  const { proxy, streamer } = await unanswered(outbox, { before: 10, rows: 300, environment });
  const [part] = await outbox.select<{ path: string }>(
    "SELECT path FROM system.parts WHERE active AND rows = 300 AND table = 'events' AND database = currentDatabase()",
  );
  await clickhouse.stop();
  await truncate(join(part!.path, 'checksums.txt'), 10);
  await clickhouse.start();
  expect(await outbox.delivered()).toEqual({ rows: 10, events: 10 });
  proxy.release();
  proxy.cut();
  await streamer.failure('OUTBOX_CH_ROWS_DROPPED');
  await outbox.untilDelivered(310);
  expect(await outbox.delivered()).toEqual({ rows: 310, events: 310 });
  const { err } = await streamer.failure('OUTBOX_CH_PARTS_DETACHED');
  expect(err?.problems?.[0]).toContain('broken-on-start');
  expect(await streamer.stop()).toBe(0);
  await proxy.close();
});
