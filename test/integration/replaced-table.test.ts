import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { onFreePort } from '../../src/embedded/ports.ts';
import { apply, examine, findingOf } from '../support/doctor.ts';
import { command } from '../support/command.ts';
import { Outbox } from '../support/outbox.ts';
import { Proxy } from '../support/proxy.ts';
import { Scrape } from '../support/scrape.ts';
import { unanswered } from '../support/unanswered.ts';
import { eventually } from '../support/wait.ts';

const RENAME = 'RENAME TABLE events TO events_old, events_new TO events';

test.concurrent('the streamer and `doctor` name the views that RENAME leaves on the former table, and the fix brings them back', async () => {
  await using outbox = await Outbox.create();
  const sql = async (query: string): Promise<unknown> => outbox.clickhouse.command({ query });
  const environment = {
    DATABASE_URL: outbox.databaseUrl,
    CLICKHOUSE_URL: outbox.clickhouseUrl,
    OUTBOX_SLOT: outbox.slot,
  };
  await outbox.addView();
  await sql(
    'CREATE MATERIALIZED VIEW stored ENGINE = SummingMergeTree ORDER BY one SETTINGS non_replicated_deduplication_window = 1000 AS SELECT 1 AS one, count() AS n FROM events GROUP BY one',
  );
  // they read the table beside the one that they hang on
  await sql('CREATE TABLE others (id UUID) ENGINE = MergeTree ORDER BY id');
  await sql(
    'CREATE MATERIALIZED VIEW beside ENGINE = MergeTree ORDER BY id AS SELECT id FROM others WHERE id IN (SELECT event_id FROM events)',
  );
  const streamer = outbox.stream();
  await outbox.fill(10);
  await outbox.untilDelivered(10);
  expect(findingOf(await examine(environment), 'clickhouse.left_views')).toBeUndefined();

  await sql('CREATE TABLE events_new AS events');
  await sql(RENAME);
  const { err } = await streamer.failure('OUTBOX_CH_TABLE_REPLACED');
  expect(err?.problems).toEqual([
    `${outbox.slot}.counter hangs on ${outbox.slot}.events_old`,
    `${outbox.slot}.stored hangs on ${outbox.slot}.events_old`,
  ]);
  await outbox.fill(20);
  await outbox.untilDelivered(20);
  expect(await outbox.viewed()).toBe(10);
  // whoever comes later is told as well
  expect(await streamer.stop()).toBe(0);
  const later = outbox.stream();
  expect((await later.failure('OUTBOX_CH_TABLE_REPLACED')).err?.problems).toHaveLength(2);

  const finding = findingOf(await examine(environment), 'clickhouse.left_views');
  expect(finding).toMatchObject({ level: 'warning', fix: [{ in: 'clickhouse' }, { in: 'clickhouse' }] });
  for (const fix of finding!.fix) await apply(fix, outbox);
  expect(findingOf(await examine(environment), 'clickhouse.left_views')).toBeUndefined();
  await outbox.fill(5);
  await outbox.untilDelivered(25);
  expect(await outbox.viewed()).toBe(15);
  expect(await outbox.select('SELECT sum(n) AS n FROM stored')).toEqual([{ n: 15 }]);
  expect(await later.stop()).toBe(0);
});

test.concurrent('the streamer says that EXCHANGE has replaced the table, and that no view was left', async () => {
  await using outbox = await Outbox.create();
  await outbox.addView();
  const port = await onFreePort(0, async (free) => free);
  const streamer = outbox.stream({ OUTBOX_HEALTH_PORT: String(port) });
  await outbox.fill(10);
  await outbox.untilDelivered(10);
  await eventually(
    'the first sample',
    async () => (await Scrape.of(port)).value('outbox_clickhouse_parts') !== undefined,
  );
  await outbox.clickhouse.command({ query: 'CREATE TABLE events_new AS events' });
  await outbox.clickhouse.command({ query: 'EXCHANGE TABLES events AND events_new' });
  const { err } = await streamer.failure('OUTBOX_CH_TABLE_REPLACED');
  expect(err?.problems ?? []).toEqual([]);
  await outbox.fill(5);
  await outbox.untilDelivered(5);
  expect(await outbox.viewed()).toBe(15);
  expect(await streamer.stop()).toBe(0);
});

test.concurrent('events wait while a table that keeps no rows has the name, which `status` and `doctor` say', async () => {
  await using outbox = await Outbox.create();
  const sql = async (query: string): Promise<unknown> => outbox.clickhouse.command({ query });
  const streamer = outbox.stream();
  await outbox.fill(10);
  await outbox.untilDelivered(10);
  await sql('RENAME TABLE events TO kept');
  await sql('CREATE TABLE events AS kept ENGINE = Null');
  await eventually('an insert is held back', async () => {
    await outbox.fill(1, 'test.meanwhile');
    return streamer.logs.some(({ err }) => err?.code === 'OUTBOX_CH_TABLE_UNSUITABLE');
  });
  await outbox.fill(5, 'test.waits');
  const status = await command(outbox, ['status']).done;
  expect(status).toMatchObject({ code: 1, stdout: expect.stringContaining('OUTBOX_CH_TABLE_UNSUITABLE') });
  const doctor = await command(outbox, ['doctor']).done;
  expect(doctor).toMatchObject({ code: 1, stdout: expect.stringContaining('its engine is Null') });
  await sql('DROP TABLE events');
  await sql('RENAME TABLE kept TO events');
  await eventually('what waited is there', async () => {
    const [waited] = await outbox.select<{ n: number }>(
      "SELECT count() AS n FROM events WHERE event_type = 'test.waits'",
    );
    return waited!.n === 5;
  });
  expect(await streamer.stop()).toBe(0);
});

test.concurrent('an insert whose answer is lost counts once in a table that was filled from the former one (invariant 4)', async () => {
  await using outbox = await Outbox.create();
  const { proxy, url } = await Proxy.to(new URL(outbox.clickhouseUrl));
  const streamer = outbox.stream({ CLICKHOUSE_URL: url, OUTBOX_INSERT_TIMEOUT_MS: '10000' });
  await outbox.fill(10);
  await outbox.untilDelivered(10);
  proxy.holdAnswersToInserts();
  await outbox.postgres.query(
    `INSERT INTO outbox.event (event_type, event_context) SELECT 'large', json_build_object('text', (SELECT string_agg(md5(random()::text || n || m), '') FROM generate_series(1, 100) m)) FROM generate_series(1, 150) n`,
  );
  await outbox.untilDelivered(160);
  for (const query of ['CREATE TABLE events_new AS events', 'INSERT INTO events_new SELECT * FROM events', RENAME])
    await outbox.clickhouse.command({ query });
  proxy.release();
  proxy.cut();
  await outbox.fill(1);
  await outbox.untilDelivered(161);
  expect(await outbox.delivered()).toEqual({ rows: 161, events: 161 });
  expect(await streamer.stop()).toBe(0);
  await proxy.close();
});

test.concurrent('a pending insert counts once in a table that was filled from the former one while no streamer ran (invariant 4)', async () => {
  await using outbox = await Outbox.create();
  const environment = { OUTBOX_INSERT_TIMEOUT_MS: '1000' };
  const { proxy, streamer } = await unanswered(outbox, { before: 10, rows: 300, environment });
  expect((await outbox.ledger())['pending_token']).not.toBeNull();
  await streamer.kill();
  for (const query of ['CREATE TABLE events_new AS events', 'INSERT INTO events_new SELECT * FROM events', RENAME])
    await outbox.clickhouse.command({ query });
  await proxy.close();
  const successor = outbox.stream({ OUTBOX_INSERT_TIMEOUT_MS: '1000' });
  await outbox.fill(1);
  await outbox.untilDelivered(311);
  expect(await outbox.delivered()).toEqual({ rows: 311, events: 311 });
  expect(await successor.stop()).toBe(0);
});

test.concurrent('a pending insert counts once in a view whose table was replaced by a copy meanwhile (invariant 4)', async () => {
  await using outbox = await Outbox.create();
  await outbox.addView();
  const environment = { OUTBOX_INSERT_TIMEOUT_MS: '10000' };
  const { proxy, streamer } = await unanswered(outbox, { before: 10, rows: 300, environment });
  await eventually('the view has counted them', async () => (await outbox.viewed()) === 310);
  for (const query of [
    'CREATE TABLE copy AS counts',
    'INSERT INTO copy SELECT * FROM counts',
    'EXCHANGE TABLES counts AND copy',
  ])
    await outbox.clickhouse.command({ query });
  proxy.cut();
  proxy.release();
  await outbox.fill(1);
  await outbox.untilDelivered(311);
  await eventually('the view has counted the last', async () => (await outbox.viewed()) >= 311);
  expect(await outbox.delivered()).toEqual({ rows: 311, events: 311 });
  expect(await outbox.viewed()).toBe(311);
  expect(await streamer.stop()).toBe(0);
  await proxy.close();
});

test.concurrent('the streamer says that the table was emptied and a view detached while it runs, and `doctor` that another slot fills it as well', async () => {
  await using outbox = await Outbox.create();
  await outbox.addView();
  const streamer = outbox.stream();
  await outbox.fill(10);
  await outbox.untilDelivered(10);
  const other = `${outbox.slot.slice(0, 50)}_other`;
  await outbox.postgres.query("SELECT pg_create_logical_replication_slot($1, 'pgoutput')", [other]);
  await outbox.postgres.query(
    `INSERT INTO outbox.stream SELECT (jsonb_populate_record(s, jsonb_build_object('slot_name', $2::text))).* FROM outbox.stream s WHERE slot_name = $1`,
    [outbox.slot, other],
  );
  const { stdout } = await command(outbox, ['doctor', '--json']).done;
  expect(stdout).toContain(`${other} delivers into the same table`);
  await outbox.postgres.query('DELETE FROM outbox.stream WHERE slot_name = $1', [other]);
  await outbox.postgres.query('SELECT pg_drop_replication_slot($1)', [other]);
  // what is delivered by then is known by a look, of which there is one every ten seconds
  await sleep(11_000);
  await outbox.clickhouse.command({ query: 'TRUNCATE TABLE events' });
  await outbox.clickhouse.command({ query: 'DETACH TABLE counter' });
  await outbox.fill(1);
  await streamer.failure('OUTBOX_LEDGER_AHEAD');
  const { err } = await streamer.failure('OUTBOX_CH_VIEW_DETACHED');
  expect(err?.problems).toEqual([`${outbox.slot}.counter, a view on the table, is detached`]);
  expect(await streamer.stop()).toBe(0);
});

test.concurrent('the streamer says that a table which took the name lacks what was delivered, also after it took events', async () => {
  await using outbox = await Outbox.create();
  const streamer = outbox.stream();
  await outbox.fill(10);
  await outbox.untilDelivered(10);
  await eventually('it is settled', async () => (await outbox.ledger())['pending_token'] === null);
  // what is delivered by then is known by a look, of which there is one every ten seconds
  await sleep(11_000);
  await outbox.clickhouse.command({ query: 'CREATE TABLE events_new AS events' });
  await outbox.clickhouse.command({ query: 'EXCHANGE TABLES events AND events_new' });
  await outbox.fill(5);
  await outbox.untilDelivered(5);
  await streamer.failure('OUTBOX_LEDGER_AHEAD');
  expect(await streamer.stop()).toBe(0);
});
