import { expect, test } from 'vitest';
import { startClickHouse } from '../../src/embedded/clickhouse.ts';
import { changing } from '../support/changing.ts';
import { command } from '../support/command.ts';
import type { Finding } from '../../src/streamer/commands/doctor/finding.ts';
import { apply, examine, findingOf } from '../support/doctor.ts';
import { Outbox } from '../support/outbox.ts';
import { Proxy } from '../support/proxy.ts';
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

test('a view that is made while the streamer runs, and throws, gets its rows once it is fixed (invariant 7)', async () => {
  await using outbox = await Outbox.create();
  const sql = async (query: string): Promise<unknown> => outbox.clickhouse.command({ query });
  const streamer = outbox.stream();
  await outbox.fill(3, 'test.before');
  await outbox.untilDelivered(3);
  await sql(
    'CREATE TABLE late (n UInt64) ENGINE = MergeTree ORDER BY n SETTINGS non_replicated_deduplication_window = 1000',
  );
  await sql('CREATE MATERIALIZED VIEW later TO late AS SELECT throwIf(1) AS n FROM events');
  await outbox.fill(5);
  await streamer.failure('OUTBOX_CH_VIEW_FAILED');
  await sql('ALTER TABLE later MODIFY QUERY SELECT 1 AS n FROM events');
  await outbox.untilDelivered(8);
  await eventually('all is settled', async () => (await outbox.ledger())['pending_token'] === null);
  expect(await streamer.stop()).toBe(0);
  expect(await outbox.select('SELECT sum(n) AS n FROM late')).toEqual([{ n: 5 }]);
  expect(streamer.output).not.toContain('OUTBOX_CH_VIEWS_UNPROVEN');
});

test.for<readonly [gone: string, back: string, found: string, fix: string]>([
  ['DROP TABLE totals SYNC', 'CREATE TABLE totals', 'does not exist', 'DROP VIEW `$`.`summer`'],
  ['DETACH TABLE totals', 'ATTACH TABLE totals', 'is detached', 'ATTACH TABLE `$`.`totals`'],
])(
  'after %s, `status` and `doctor` name the view without a table to fill, and after %s the view counts each event once',
  async ([gone, back, found, fix]) => {
    await using outbox = await Outbox.create();
    const sql = async (query: string): Promise<unknown> => outbox.clickhouse.command({ query });
    const totals =
      'CREATE TABLE totals (n UInt64) ENGINE = SummingMergeTree ORDER BY tuple() SETTINGS non_replicated_deduplication_window = 1000';
    await sql(totals);
    await sql('CREATE MATERIALIZED VIEW summer TO totals AS SELECT count() AS n FROM events');
    await sql(gone);
    const streamer = outbox.stream();
    await outbox.fill(20);
    const { err } = await streamer.failure('OUTBOX_CH_VIEW_FAILED');
    expect(err?.message).toContain(`the view ${outbox.slot}.summer fills ${outbox.slot}.totals, which ${found}`);
    expect(err?.next).toContain('attach');
    const status = await eventually('the refusal is in the ledger', async () => {
      const { code, stdout } = await command(outbox, ['status']).done;
      return code === 1 && stdout.includes('OUTBOX_CH_VIEW_FAILED') && stdout;
    });
    expect(status).not.toContain('OUTBOX_CH_NOT_MIGRATED');
    const environment = { DATABASE_URL: outbox.databaseUrl, CLICKHOUSE_URL: outbox.clickhouseUrl };
    const findings = await examine({ ...environment, OUTBOX_SLOT: outbox.slot });
    expect(findings.filter(({ id }) => id.startsWith('clickhouse.'))).toEqual([
      expect.objectContaining({
        id: 'clickhouse.views',
        level: 'error',
        found: expect.stringContaining(`summer fills ${outbox.slot}.totals, which ${found}`),
        fix: [{ in: 'clickhouse', run: fix.replace('$', outbox.slot) }],
      }),
    ]);
    await sql(back === 'CREATE TABLE totals' ? totals : back);
    await outbox.untilDelivered(20);
    expect(await streamer.stop()).toBe(0);
    expect(await outbox.delivered()).toEqual({ rows: 20, events: 20 });
    expect(await outbox.select('SELECT sum(n) AS n FROM totals')).toEqual([{ n: 20 }]);
  },
);

test('events are delivered past a view without a table to fill, where the account is set to pass it over', async () => {
  await using clickhouse = await startClickHouse({
    settings: { ignore_materialized_views_with_dropped_target_table: 1 },
  });
  await using outbox = await Outbox.create({ clickhouseUrl: clickhouse.url });
  await outbox.addView();
  await outbox.clickhouse.command({ query: 'DROP TABLE counts SYNC' });
  const streamer = outbox.stream();
  await outbox.fill(5);
  await outbox.untilDelivered(5);
  expect(await streamer.stop()).toBe(0);
});

test('the streamer suspects no view whose table is away for a moment, between two questions', async () => {
  await using outbox = await Outbox.create();
  await outbox.addView();
  const sql = async (query: string): Promise<unknown> => outbox.clickhouse.command({ query });
  let questions = 0;
  const { server, url } = await changing(new URL(outbox.clickhouseUrl), async (parameters) => {
    if (parameters.get('param_name') !== 'counts') return;
    questions++;
    if (questions === 1) await sql('DETACH TABLE counts');
    if (questions === 2) await sql('ATTACH TABLE counts');
  });
  const streamer = outbox.stream({ CLICKHOUSE_URL: url });
  await outbox.fill(5);
  await outbox.untilDelivered(5);
  expect(questions).toBeGreaterThan(2);
  expect(streamer.output).not.toContain('OUTBOX_CH_VIEW');
  expect(await streamer.stop()).toBe(0);
  server.close();
});

test('a repeated insert whose rows have expired meanwhile is counted once by a view', async () => {
  await using outbox = await Outbox.create();
  await outbox.addView();
  await outbox.clickhouse.command({
    query: 'ALTER TABLE events MODIFY TTL toDateTime(event_date_time) + INTERVAL 1 YEAR',
  });
  const { proxy, url } = await Proxy.to(new URL(outbox.clickhouseUrl));
  const streamer = outbox.stream({ CLICKHOUSE_URL: url, OUTBOX_INSERT_TIMEOUT_MS: '1000' });
  await outbox.fill(10);
  await outbox.untilDelivered(10);
  proxy.holdAnswersToInserts();
  await outbox.postgres.query(
    "INSERT INTO outbox.event (event_type, event_context, event_date_time) SELECT 'old', '{}', '2020-01-01' FROM generate_series(1, 50)",
  );
  await eventually('the view has counted them', async () => (await outbox.viewed()) === 60);
  await outbox.clickhouse.command({ query: 'OPTIMIZE TABLE events FINAL' });
  proxy.cut();
  proxy.release();
  await outbox.fill(10);
  await outbox.untilDelivered(20);
  expect(await outbox.viewed()).toBe(70);
  expect(await streamer.stop()).toBe(0);
  await proxy.close();
});

test('the streamer and `doctor` report a view that is detached, and its fix attaches it', async () => {
  await using outbox = await Outbox.create();
  await outbox.addView();
  await outbox.clickhouse.command({ query: 'DETACH TABLE counter PERMANENTLY' });
  const streamer = outbox.stream();
  const { err, level } = await streamer.failure('OUTBOX_CH_VIEW_DETACHED');
  expect({ level, problems: err?.problems }).toEqual({
    level: 'warn',
    problems: [`${outbox.slot}.counter is detached`],
  });
  const environment = { DATABASE_URL: outbox.databaseUrl, CLICKHOUSE_URL: outbox.clickhouseUrl };
  const look = async (): Promise<Finding | undefined> =>
    findingOf(await examine({ ...environment, OUTBOX_SLOT: outbox.slot }), 'clickhouse.detached_tables');
  const finding = await look();
  expect(finding).toMatchObject({ level: 'warning', fix: [{ run: `ATTACH TABLE \`${outbox.slot}\`.\`counter\`` }] });
  await apply(finding!.fix[0]!, outbox);
  expect(await look()).toBeUndefined();
  await outbox.fill(5);
  await outbox.untilDelivered(5);
  await eventually('the view has counted them', async () => (await outbox.viewed()) === 5);
  expect(await streamer.stop()).toBe(0);
});
