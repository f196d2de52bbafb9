import type { Client } from 'pg';
import { expect, test } from 'vitest';
import { onFreePort } from '../../src/embedded/ports.ts';
import { ALL } from '../../src/streamer/compare/window.ts';
import { verify } from '../../src/streamer/commands/verify.ts';
import { command } from '../support/command.ts';
import { Outbox } from '../support/outbox.ts';
import { Proxy } from '../support/proxy.ts';
import { OFF, ROW, VALUES, configOf, connect, retain, fillDaysAgo, bucketOf, kept } from '../support/retention.ts';
import { eventually } from '../support/wait.ts';

test.concurrent('retention removes delivered expired events and logs each partition once; `verify` counts them as expired', async () => {
  await using outbox = await Outbox.create();
  const port = await onFreePort(0, async (free) => free);
  for (const days of [10, 8, 3, 0]) await fillDaysAgo(outbox, days, 100);
  const streamer = outbox.stream({ OUTBOX_HEALTH_PORT: String(port) });
  await outbox.untilDelivered(400);
  // makes the old events look as if they were committed when they were recorded
  await outbox.clickhouse.command({
    query: `INSERT INTO events SELECT * REPLACE (committed_at - toIntervalDay(splitByChar(' ', event_type)[1]) AS committed_at)
              FROM (SELECT * FROM events WHERE event_type NOT IN ('0 days', '3 days'))`,
    clickhouse_settings: { async_insert: 0 },
  });
  await outbox.clickhouse.command({
    query: "DELETE FROM events WHERE event_type NOT IN ('0 days', '3 days') AND committed_at > now() - INTERVAL 1 DAY",
    clickhouse_settings: { lightweight_deletes_sync: '2' },
  });

  // a busy stream proves sooner than an idle one that it has delivered
  let all = 400;
  await eventually('what is older is gone', async () => {
    await outbox.fill(1, '0 days');
    all++;
    return (await kept(outbox))['8 days'] === undefined;
  });
  expect(await kept(outbox)).toEqual({ '3 days': 100, '0 days': all - 300 });
  const ready = await eventually('its numbers', async () => {
    const answer = (await (await fetch(`http://127.0.0.1:${port}/readyz`)).json()) as Record<string, unknown>;
    return answer['retention'] as Record<string, unknown> | undefined;
  });
  expect(ready).toMatchObject({ emptied: 2, oldestAt: expect.any(Number), ranAt: expect.any(Number) });
  expect(ready).not.toHaveProperty('problem');
  const lines = streamer.logs.filter(({ msg }) => msg === 'removed expired events of the outbox');
  expect(lines).toEqual([
    expect.objectContaining({
      table: await bucketOf(outbox, 10),
      rows: 100,
      bytes: expect.any(Number),
    }),
    expect.objectContaining({ table: await bucketOf(outbox, 8), rows: 100 }),
  ]);

  const report = await verify(configOf(outbox), { window: ALL, waitMs: 60_000, limit: 20 });
  expect(report).toMatchObject({ identical: true, missing: 0, extra: 0, expired: 200 });
  // the removal is not in the stream, and the stream goes on
  await outbox.fill(10);
  await outbox.untilDelivered(all + 10);
  expect(await outbox.delivered()).toEqual({ rows: all + 10, events: all + 10 });
  expect(streamer.logs.filter(({ level }) => level === 'warn' || level === 'error')).toEqual([]);
  expect(await streamer.stop()).toBe(0);
});

test.concurrent('retention keeps events that no streamer provably delivered, and all of them in a dry run or during a repair', async () => {
  await using outbox = await Outbox.create();
  const { proxy, url } = await Proxy.to(new URL(outbox.clickhouseUrl));
  await fillDaysAgo(outbox, 9, 50);
  const full = { '9 days': 50 };
  expect((await retain(outbox)).kept?.reason).toContain('no streamer holds it');
  const said = await command(outbox, ['retention']).done;
  expect(said).toMatchObject({ code: 1, stdout: expect.stringContaining('expired events stay') });
  expect(await kept(outbox)).toEqual(full);

  proxy.holdRequests();
  const streamer = outbox.stream({ CLICKHOUSE_URL: url, ...OFF });
  await streamer.attached();
  expect((await retain(outbox, { waitMs: 1000 })).kept).toMatchObject({
    table: await bucketOf(outbox, 9),
    reason: expect.stringContaining('is delivered up to'),
    passes: false,
  });
  expect(await kept(outbox)).toEqual(full);
  proxy.release();
  await outbox.untilDelivered(50);

  const table = await bucketOf(outbox, 9);
  const dry = await command(outbox, ['retention', '--dry-run', '--json']).done;
  expect(dry.code).toBe(0);
  expect(JSON.parse(dry.stdout)).toMatchObject({ isDry: true, removed: [{ table, rows: 50 }] });
  expect(await kept(outbox)).toEqual(full);

  const repairing = async (began: string): Promise<unknown> =>
    outbox.postgres.query(`UPDATE outbox.stream SET repair_began_at = ${began} WHERE slot_name = $1`, [outbox.slot]);
  await repairing('now()');
  expect((await retain(outbox)).kept?.reason).toContain('an earlier repair has not ended');
  await repairing('NULL');
  expect(await streamer.stop()).toBe(0);
  await outbox.postgres.query('SELECT pg_drop_replication_slot($1)', [outbox.slot]);
  expect((await retain(outbox)).kept?.reason).toContain('the slot does not exist');
  // a slot that is created again is confirmed past every event, which proves nothing
  await outbox.postgres.query("SELECT pg_create_logical_replication_slot($1, 'pgoutput')", [outbox.slot]);
  expect((await retain(outbox)).kept?.reason).toContain('made again');
  expect(await kept(outbox)).toEqual(full);
  await proxy.close();
});

test.concurrent('retention makes no producer wait, even in the partition it empties, and gives way to a long transaction there', async () => {
  await using outbox = await Outbox.create();
  await outbox.stream(OFF).attached();
  await fillDaysAgo(outbox, 9, 1000);
  await outbox.untilDelivered(1000);
  const table = await bucketOf(outbox, 9);
  const put = async (client: Client, days: number): Promise<unknown> =>
    client.query(`INSERT INTO outbox.event ${ROW} ${VALUES}`, ['produced', days, 1]);
  // a transaction of today stays open all the time; another has put an event into the expired partition
  const [today, old] = [await connect(outbox), await connect(outbox)];
  for (const client of [today, old]) await client.query('BEGIN');
  await put(today, 0);
  await put(old, 9);
  expect(await retain(outbox)).toMatchObject({ removed: [], kept: { table, reason: 'somebody holds a lock on it' } });
  await old.query('COMMIT');

  // an idle stream takes seconds to prove that it has delivered; a producer that writes to the partition need not wait for that
  const held = retain(outbox);
  await eventually('the bucket is held', async () => {
    const { rowCount } = await outbox.postgres.query(
      "SELECT FROM pg_locks WHERE relation = $1::regclass AND mode = 'ShareLock' AND granted",
      [table],
    );
    return rowCount === 1;
  });
  const late = await connect(outbox, 2000);
  await put(late, 9);
  expect(await held).toMatchObject({ removed: [], kept: { table, reason: 'somebody else needs it' } });

  const over = new AbortController();
  const produce = async (client: Client): Promise<number> => {
    let count = 0;
    for (; !over.signal.aborted; count++) await put(client, 0);
    return count;
  };
  const producing = Promise.all([produce(today), produce(late)]);
  const [emptied] = await Promise.all([
    eventually('the bucket is emptied', async () => (await retain(outbox)).removed[0]).finally(() => over.abort()),
    producing,
  ]);
  expect(emptied).toMatchObject({ table, rows: 1002 });
  const produced = (await producing).reduce((sum, n) => sum + n, 0);
  expect(produced).toBeGreaterThan(0);
  await today.query('COMMIT');
  await Promise.all([today, old, late].map(async (client) => client.end()));
  const all = 1003 + produced;
  await outbox.untilDelivered(all);
  expect(await outbox.delivered()).toEqual({ rows: all, events: all });
});

test.concurrent('`retention` rejects wrong usage, wrong days and a second run, and keeps a partition that is not all expired', async () => {
  await using outbox = await Outbox.create();
  expect(await command(outbox, ['retention', '--wrong']).done).toMatchObject({ code: 2, stdout: '' });
  expect(await command(outbox, ['retention'], OFF).done).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('OUTBOX_RETENTION_DAYS is 0'),
  });
  expect(await command(outbox, ['retention'], { OUTBOX_RETENTION_DAYS: '31' }).done).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('OUTBOX_RETENTION_DAYS must be a whole number from 0 to 30 (days)'),
  });
  await outbox.postgres.query(
    `INSERT INTO outbox.event ${ROW}
     SELECT 'one day', '{}', now() - make_interval(hours => 24 * 7 + h), 5 FROM unnest('{1,-1}'::int[]) h`,
  );
  expect(await command(outbox, ['retention']).done).toMatchObject({
    code: 0,
    stdout: expect.stringMatching(
      /^no event recorded before .* can be removed yet\noutbox.event: .* the oldest event of .*Z\n$/,
    ),
  });
  const another = await connect(outbox);
  await another.query("SET application_name = 'pg-outbox-clickhouse retention'");
  await another.query('SELECT pg_advisory_lock($1)', [0x6f7574626f79]);
  expect(await command(outbox, ['retention', '--json']).done).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('OUTBOX_RETENTION_BUSY'),
  });
  await another.end();
});
