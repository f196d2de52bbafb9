import { expect, test } from 'vitest';
import { command } from '../support/command.ts';
import { Outbox } from '../support/outbox.ts';
import { Proxy } from '../support/proxy.ts';
import { eventually } from '../support/wait.ts';

const REFUSED = "event_type != 'poison'";

async function constrain(outbox: Outbox): Promise<void> {
  await outbox.clickhouse.command({ query: `ALTER TABLE events ADD CONSTRAINT sound CHECK ${REFUSED}` });
}

async function fix(outbox: Outbox): Promise<void> {
  await outbox.clickhouse.command({ query: 'ALTER TABLE events DROP CONSTRAINT sound' });
}

/** Emits `groups` groups in one transaction, each of `good` events and then one that ClickHouse rejects. */
async function fillMixed(outbox: Outbox, groups: number, good: number): Promise<void> {
  await outbox.postgres.query(
    `INSERT INTO outbox.event (event_type, event_context)
     SELECT CASE WHEN n % $2::int = 0 THEN 'poison' ELSE 'good' END, json_build_object('n', n, 'text', 'ünï "q" \\u0000')
       FROM generate_series(1, $1::int) n`,
    [groups * (good + 1), good + 1],
  );
}

async function quarantined(outbox: Outbox): Promise<number> {
  const { rows } = await outbox.postgres.query(
    'SELECT count(*)::int AS n FROM outbox.quarantine WHERE discarded_at IS NULL',
  );
  return rows[0].n;
}

/** Each event of the outbox is there once, with its exact text: in the table and its view, or in quarantine. */
async function expectEach(outbox: Outbox, rows: number, set: number): Promise<void> {
  expect(await outbox.delivered()).toEqual({ rows, events: rows });
  expect(await quarantined(outbox)).toBe(set);
  expect(await outbox.viewed()).toBe(rows);
  const all = await outbox.postgres.query('SELECT event_id AS id, event_context::text AS text FROM outbox.event');
  const kept = await outbox.postgres.query('SELECT event_id AS id, event_context AS text FROM outbox.quarantine');
  const there = await outbox.select<{ id: string; text: string }>(
    'SELECT event_id AS id, event_context_text AS text FROM events',
  );
  const key = (row: { id: string; text: string }): string => `${row.id} ${row.text}`;
  expect([...there, ...kept.rows].map(key).toSorted()).toEqual(all.rows.map(key).toSorted());
}

test.concurrent('the streamer quarantines rejected rows with their exact text and delivers the others (invariant 7)', async () => {
  await using outbox = await Outbox.create();
  await outbox.addView();
  await constrain(outbox);
  await fillMixed(outbox, 5, 99);
  const streamer = outbox.stream();
  const { err } = await streamer.failure('OUTBOX_QUARANTINED');
  expect(err?.next).toContain('quarantine list');
  await outbox.fill(10);
  await outbox.untilDelivered(505);
  await eventually('all is settled', async () => (await outbox.ledger())['pending_token'] === null);
  await expectEach(outbox, 505, 5);

  const listed = await command(outbox, ['quarantine', 'list', '--json']).done;
  expect(listed.code).toBe(0);
  const rows = JSON.parse(listed.stdout) as { id: string; reason: string; event_type: string }[];
  expect(rows.map(({ event_type: type }) => type)).toEqual(Array(5).fill('poison'));
  expect(rows[0]!.reason).toContain('469 VIOLATED_CONSTRAINT, constraint sound');
  expect((await command(outbox, ['quarantine', 'list']).done).stdout).toMatch(
    /^5 × poison, 469 VIOLATED_CONSTRAINT, constraint sound\n\n {2}id {2}quarantined \(UTC\) {4}event_id\n( {2} *\d+ {2}[\d-]{10} [\d:]{8} {2}[\da-f-]{36}\n){5}$/,
  );

  const early = await command(outbox, ['quarantine', 'retry', '--all']).done;
  expect(early.code).toBe(1);
  expect(early.stdout).toMatch(/^5 rejected again$/m);
  await expectEach(outbox, 505, 5);

  await fix(outbox);
  const unasked = await command(outbox, ['quarantine', 'discard', rows[4]!.id]).done;
  expect(unasked).toMatchObject({
    code: 1,
    stdout: expect.stringMatching(/^1 × poison.*\nNothing was discarded: .*--yes/),
  });
  const discarded = await command(outbox, ['quarantine', 'discard', rows[4]!.id, '--yes']).done;
  expect(discarded).toMatchObject({ code: 0, stdout: '1 discarded\n' });
  const retried = await command(outbox, ['quarantine', 'retry', '--all', '--json']).done;
  expect(JSON.parse(retried.stdout)).toEqual({
    delivered: 4,
    'there already': 0,
    'views unproven': 0,
    refused: 0,
    gone: 0,
  });
  expect(await streamer.stop()).toBe(0);
  await expectEach(outbox, 509, 0);
  expect(streamer.output).not.toContain('ünï');
});

test.concurrent('the streamer delivers or quarantines each row once after six SIGKILLs while it splits inserts (invariants 4 and 7)', async () => {
  await using outbox = await Outbox.create();
  await outbox.addView();
  await constrain(outbox);
  await fillMixed(outbox, 8, 40);
  for (let kills = 0; kills < 6; kills++) {
    const before = await quarantined(outbox);
    const streamer = outbox.stream({
      OUTBOX_INSERT_TIMEOUT_MS: '1000',
      OUTBOX_BATCH_MAX_ROWS: String(100 + kills * 37),
    });
    await eventually(
      'one more is set aside',
      async () => (await quarantined(outbox)) > before || (await outbox.delivered()).rows === 320,
      60_000,
    );
    await streamer.kill();
  }
  const last = outbox.stream({ OUTBOX_INSERT_TIMEOUT_MS: '1000' });
  await outbox.untilDelivered(320);
  await eventually('all is set aside', async () => (await quarantined(outbox)) === 8);
  await eventually('all is settled', async () => (await outbox.ledger())['pending_token'] === null);
  await expectEach(outbox, 320, 8);
  expect(await last.stop()).toBe(0);
}, 180_000);

test.concurrent('the streamer delivers or quarantines each row once when the cause is fixed while it splits an insert', async () => {
  await using outbox = await Outbox.create();
  await outbox.addView();
  await constrain(outbox);
  await fillMixed(outbox, 50, 1);
  const streamer = outbox.stream();
  await eventually('some are set aside', async () => (await quarantined(outbox)) > 3);
  await fix(outbox);
  await eventually(
    'the rest is delivered',
    async () => (await outbox.delivered()).rows + (await quarantined(outbox)) === 100,
  );
  await eventually('all is settled', async () => (await outbox.ledger())['pending_token'] === null);
  await expectEach(outbox, 100 - (await quarantined(outbox)), await quarantined(outbox));
  expect(await streamer.stop()).toBe(0);
});

test.concurrent('the streamer waits when the quarantine is full, and delivers the rest once the table is fixed', async () => {
  await using outbox = await Outbox.create();
  await outbox.addView();
  await constrain(outbox);
  await fillMixed(outbox, 6, 1);
  const streamer = outbox.stream({ OUTBOX_QUARANTINE_MAX_ROWS: '3' });
  await streamer.failure('OUTBOX_QUARANTINE_FULL');
  expect(await quarantined(outbox)).toBe(3);
  const status = await command(outbox, ['status']).done;
  expect(status.stdout).toMatch(/^ {2}quarantine +3 events: full$/m);
  expect(status.stdout).toContain('OUTBOX_QUARANTINE_FULL: 3 events are in quarantine');
  await fix(outbox);
  await outbox.untilDelivered(9);
  await eventually('all is settled', async () => (await outbox.ledger())['pending_token'] === null);
  await expectEach(outbox, 9, 3);
  expect(await streamer.stop()).toBe(0);
});

test.concurrent('`quarantine retry` delivers an event once after SIGKILL between its insert and its delete', async () => {
  await using outbox = await Outbox.create();
  await outbox.addView();
  await constrain(outbox);
  await fillMixed(outbox, 1, 3);
  const streamer = outbox.stream();
  await eventually('it is set aside', async () => (await quarantined(outbox)) === 1);
  await outbox.untilDelivered(3);
  expect(await streamer.stop()).toBe(0);
  await fix(outbox);
  const { proxy, url } = await Proxy.to(new URL(outbox.clickhouseUrl));
  proxy.holdAnswersToInserts();
  const retry = command(outbox, ['quarantine', 'retry', '--all'], { CLICKHOUSE_URL: url });
  await outbox.untilDelivered(4);
  retry.kill();
  await retry.done;
  await proxy.close();
  await eventually('its lock is gone', async () => {
    const { rowCount } = await outbox.postgres.query('SELECT FROM outbox.quarantine FOR UPDATE SKIP LOCKED');
    return rowCount === 1;
  });
  await expectQuarantineRetried(outbox);
});

async function expectQuarantineRetried(outbox: Outbox): Promise<void> {
  const again = await Promise.all(
    [1, 2].map(async () => command(outbox, ['quarantine', 'retry', '--all', '--json']).done),
  );
  const counts = again.map(({ stdout }) => JSON.parse(stdout) as Record<string, number>);
  expect(counts.reduce((sum, count) => sum + count['there already']!, 0)).toBe(1);
  await expectEach(outbox, 4, 0);
}

test.concurrent('`quarantine` rejects wrong usage with exit code 2 and prints its usage', async () => {
  await using outbox = await Outbox.create();
  for (const args of [[], ['list', 'x'], ['retry'], ['discard'], ['discard', '1', '--json'], ['drop', '1']]) {
    const { code, stderr } = await command(outbox, ['quarantine', ...args]).done;
    expect(code).toBe(2);
    expect(stderr).toContain('Usage: pg-outbox-clickhouse quarantine');
  }
});

test.concurrent('`quarantine` names ids that it does not have, and does nothing', async () => {
  await using outbox = await Outbox.create();
  for (const action of ['retry', 'discard']) {
    const { code, stderr } = await command(outbox, ['quarantine', action, '998', '999']).done;
    expect(code).toBe(1);
    expect(stderr).toContain('in quarantine has the id 998, 999');
  }
});

test.concurrent('`quarantine retry` completes a view at which an earlier call failed, and says so where that is too long ago', async () => {
  await using outbox = await Outbox.create();
  const run = async (query: string): Promise<unknown> => outbox.clickhouse.command({ query });
  await constrain(outbox);
  const streamer = outbox.stream();
  await fillMixed(outbox, 1, 4);
  await streamer.failure('OUTBOX_QUARANTINED');
  expect(await streamer.stop()).toBe(0);
  await fix(outbox);
  await run(
    'CREATE TABLE counted (n UInt64) ENGINE = MergeTree ORDER BY n SETTINGS non_replicated_deduplication_window = 1000',
  );
  await run('CREATE MATERIALIZED VIEW counting TO counted AS SELECT throwIf(1) AS n FROM events');
  const failed = await command(outbox, ['quarantine', 'retry', '--all']).done;
  expect(failed).toMatchObject({ code: 1, stderr: expect.stringContaining('OUTBOX_CH_VIEW_FAILED') });
  await outbox.postgres.query(
    `INSERT INTO outbox.quarantine (slot_name, source, lsn, seq, event_id, event_type, event_date_time, environment, event_context,
                                    metadata_version, subject, committed_at, trace_id, span_id, recorded_at, recorded_by, reason, retried_at)
     SELECT slot_name, source, lsn, seq, event_id, event_type, event_date_time, environment, event_context,
            metadata_version, subject, committed_at, trace_id, span_id, recorded_at, recorded_by, reason, now() - interval '1 hour' FROM outbox.quarantine`,
  );
  await run('ALTER TABLE counting MODIFY QUERY SELECT 1 AS n FROM events');
  expect(await command(outbox, ['quarantine', 'retry', '2']).done).toMatchObject({
    code: 1,
    stdout: expect.stringContaining('1 views unproven'),
  });
  expect(await command(outbox, ['quarantine', 'retry', '--all']).done).toMatchObject({
    code: 0,
    stdout: expect.stringContaining('1 there already'),
  });
  expect(await outbox.select('SELECT toUInt32(count()) AS n FROM counted')).toEqual([{ n: 1 }]);
});

test.concurrent('`quarantine retry` delivers the same times into columns of another time zone', async () => {
  await using outbox = await Outbox.create();
  const run = async (query: string): Promise<unknown> => outbox.clickhouse.command({ query });
  for (const column of ['committed_at', 'delivered_at'])
    await run(`ALTER TABLE events MODIFY COLUMN ${column} DateTime64(6, 'Europe/Berlin')`);
  await constrain(outbox);
  const streamer = outbox.stream();
  const time = '1931-02-03 04:05:06.789012+00';
  await outbox.postgres.query(
    "INSERT INTO outbox.event (event_type, event_context, event_date_time) VALUES ('good', '{}', now()), ('poison', '{}', $1)",
    [time],
  );
  await streamer.failure('OUTBOX_QUARANTINED');
  expect(await streamer.stop()).toBe(0);
  await fix(outbox);
  expect(await command(outbox, ['quarantine', 'retry', '--all']).done).toMatchObject({ code: 0 });
  const rows = await outbox.select<{ at: string; late: number }>(
    `SELECT toString(event_date_time, 'UTC') AS at, toInt32(abs(dateDiff('second', committed_at, now())) > 600) AS late
       FROM events WHERE event_type = 'poison'`,
  );
  expect(rows).toEqual([{ at: '1931-02-03 04:05:06.789012', late: 0 }]);
});

test.concurrent('a sequence that is behind the rows of the quarantine holds up nothing, and `migrate` sets it', async () => {
  await using outbox = await Outbox.create();
  await constrain(outbox);
  await outbox.postgres.query(
    `INSERT INTO outbox.quarantine (slot_name, source, lsn, seq, event_id, event_type, event_date_time, environment, event_context,
                                    metadata_version, subject, committed_at, trace_id, span_id, recorded_at, recorded_by, reason)
     SELECT 'another', 's', '0/1', g, gen_random_uuid(), 't', now(), '', '{}', 1, '', now(), '', '', now(), 'r', 'r' FROM generate_series(1, 20) g;
     ALTER SEQUENCE outbox.quarantine_id_seq RESTART WITH 1`,
  );
  outbox.stream();
  await fillMixed(outbox, 3, 1);
  await outbox.untilDelivered(3);
  await eventually('all are in quarantine', async () => (await quarantined(outbox)) === 23);
  const ids = await outbox.postgres.query("SELECT id FROM outbox.quarantine WHERE slot_name <> 'another' ORDER BY id");
  expect(ids.rows).toEqual([{ id: '21' }, { id: '22' }, { id: '23' }]);
  await outbox.migrate();
  const { rows } = await outbox.postgres.query("SELECT nextval('outbox.quarantine_id_seq') AS id");
  expect(rows).toEqual([{ id: '24' }]);
});
