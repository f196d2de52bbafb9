import { truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { startClickHouse } from '../../src/embedded/clickhouse.ts';
import type { Finding } from '../../src/streamer/commands/doctor/finding.ts';
import { command } from '../support/command.ts';
import { apply, examine, findingOf } from '../support/doctor.ts';
import { Outbox } from '../support/outbox.ts';
import { eventually } from '../support/wait.ts';

/** Inserts may take one second, so that `repair` waits for earlier ones only for seconds. */
const QUICK = { OUTBOX_INSERT_TIMEOUT_MS: '1000' };

/** Nothing but what it does. */
const ONLY_PROGRESS = /^(.* so far\n)*$/;

interface Report {
  gap: string | null;
  missing: number;
  sent: number;
  quarantined: number;
  extra: number;
  double: number;
}

async function repaired(outbox: Outbox, args: string[] = []): Promise<Report> {
  const { code, stdout, stderr } = await command(outbox, ['repair', '--json', ...args], QUICK).done;
  expect({ code, stderr }).toEqual({ code: 0, stderr: expect.stringMatching(ONLY_PROGRESS) });
  return JSON.parse(stdout) as Report;
}

async function expectIdentical(outbox: Outbox): Promise<void> {
  const { stdout, stderr } = await command(outbox, ['verify', '--json']).done;
  expect(stderr).toMatch(ONLY_PROGRESS);
  expect(JSON.parse(stdout)).toMatchObject({ identical: true, missing: 0, double: 0, altered: 0, extra: 0 });
}

/** Delivers events, drops the slot, then emits `missing` events that only the outbox has. */
async function lostSlot(outbox: Outbox, missing: number): Promise<void> {
  const streamer = outbox.stream();
  await streamer.attached();
  await outbox.fill(300, 'test.before');
  await outbox.untilDelivered(300);
  expect(await streamer.stop()).toBe(0);
  await outbox.postgres.query('SELECT pg_drop_replication_slot($1)', [outbox.slot]);
  await outbox.fill(missing, 'test.missing');
}

/** Commits and rolls back until it is stopped; resolves with the number of events committed. */
function produce(outbox: Outbox): { stop: () => Promise<number> } {
  const stop = new AbortController();
  const done = (async () => {
    let committed = 0;
    for (let i = 0; !stop.signal.aborted; i++) {
      const client = await outbox.postgres.connect();
      await client.query('BEGIN');
      await client.query(
        "INSERT INTO outbox.event (event_type, event_context) SELECT 'test.live', '{}' FROM generate_series(1, 3)",
      );
      await client.query(i % 4 === 0 ? 'ROLLBACK' : 'COMMIT');
      client.release();
      if (i % 4 !== 0) committed += 3;
    }
    return committed;
  })();
  return {
    stop: async () => {
      stop.abort();
      return done;
    },
  };
}

test.concurrent('`repair` fills the gap of a lost slot while producers go on and a streamer waits (invariant 8)', async () => {
  await using outbox = await Outbox.create();
  await lostSlot(outbox, 2000);
  const streamer = outbox.stream({ OUTBOX_RETRY_MAX_MS: '200' });
  await streamer.failure('OUTBOX_SLOT_MISSING');
  const producer = produce(outbox);
  const dry = await repaired(outbox, ['--dry-run']);
  expect(dry).toMatchObject({ gap: 'the slot does not exist', sent: 0 });
  expect(dry.missing).toBeGreaterThanOrEqual(2000);
  const report = await repaired(outbox);
  expect(report.gap).toBe('the slot does not exist');
  expect(report.sent).toBe(report.missing);
  expect(report.missing).toBeGreaterThanOrEqual(2000);
  await streamer.failure('OUTBOX_REPAIR_UNFINISHED');
  await streamer.attached();
  const live = await producer.stop();
  await outbox.untilDelivered(2300 + live);
  expect(await outbox.delivered()).toEqual({ rows: 2300 + live, events: 2300 + live });
  await expectIdentical(outbox);
  // the rows are those that the stream would have inserted, except for their origin
  expect(
    await outbox.select(
      "SELECT origin, count() AS n, uniqExact(lsn, seq) AS places FROM events WHERE event_type = 'test.missing' GROUP BY origin",
    ),
  ).toEqual([{ origin: 'repair', n: 2000, places: 2000 }]);
  expect(await repaired(outbox)).toMatchObject({ gap: null, missing: 0, sent: 0 });
  expect(await streamer.stop()).toBe(0);
}, 180_000);

test.concurrent('`repair` says what it waits for before it waits', async () => {
  await using outbox = await Outbox.create();
  const repair = command(outbox, ['repair']);
  expect(await repair.told('waiting')).toContain('no earlier insert can be under way, at least 65 s');
  repair.kill();
  await outbox.fill(1);
  const dry = command(outbox, ['repair', '--dry-run']);
  expect(await dry.told('waiting')).toContain('the streamer to deliver, at most 60 s');
  dry.kill();
});

test.concurrent('`repair` sends every event once when it is killed three times and run again (invariant 4)', async () => {
  await using outbox = await Outbox.create();
  await lostSlot(outbox, 5000);
  const environment = { ...QUICK, OUTBOX_BATCH_MAX_ROWS: '100' };
  for (const rows of [301, 900, 2500]) {
    const repair = command(outbox, ['repair'], environment);
    await eventually(`${rows} rows`, async () => (await outbox.delivered()).rows >= rows, 60_000);
    repair.kill();
    await repair.done;
  }
  const streamer = outbox.stream();
  await streamer.failure('OUTBOX_REPAIR_UNFINISHED');
  const { code, stdout } = await command(outbox, ['repair', '--json'], environment).done;
  expect(code).toBe(0);
  const report = JSON.parse(stdout) as Report;
  expect(report.gap).toBe('an earlier repair has not ended');
  expect(report.missing).toBeLessThanOrEqual(2800);
  await outbox.fill(10);
  await outbox.untilDelivered(5310);
  expect(await outbox.delivered()).toEqual({ rows: 5310, events: 5310 });
  await expectIdentical(outbox);
  expect(await streamer.stop()).toBe(0);
}, 180_000);

test.concurrent('`repair` restores rows that ClickHouse lost, beside a running streamer, and once when two repairs start together', async () => {
  await using outbox = await Outbox.create();
  const streamer = outbox.stream();
  await streamer.attached();
  await outbox.fill(1000);
  await outbox.untilDelivered(1000);
  await outbox.clickhouse.command({
    query: 'DELETE FROM events WHERE toUInt32(event_context.n) % 4 = 0',
    clickhouse_settings: { mutations_sync: '2', lightweight_deletes_sync: '2' },
  });
  expect(await outbox.delivered()).toEqual({ rows: 750, events: 750 });
  const dry = await command(outbox, ['repair', '--json', '--dry-run']).done;
  expect(JSON.parse(dry.stdout)).toMatchObject({ gap: null, missing: 250, sent: 0 });
  // it sends nothing, and so waits for no earlier insert
  expect(dry.stderr).not.toContain('earlier insert');
  expect(await repaired(outbox, ['--dry-run', '--to', '1h'])).toMatchObject({ gap: null, missing: 0 });
  expect(await command(outbox, ['repair', '--from', 'soon']).done).toMatchObject({ code: 2 });
  const producer = produce(outbox);
  const both = await Promise.all([1, 2].map(async () => command(outbox, ['repair', '--json'], QUICK).done));
  const live = await producer.stop();
  const sent = both.filter(({ code }) => code === 0).map(({ stdout }) => (JSON.parse(stdout) as Report).sent);
  expect(sent.reduce((sum, one) => sum + one, 0)).toBe(250);
  const failures = both.filter(({ code }) => code !== 0).map(({ stderr }) => stderr.split(':')[0]);
  expect(failures).toEqual(failures.map(() => 'OUTBOX_REPAIR_BUSY'));
  await outbox.untilDelivered(1000 + live);
  await expectIdentical(outbox);
  expect(await streamer.stop()).toBe(0);
}, 120_000);

test.concurrent('`migrate` restores a dropped publication, and `repair` fills its gap (invariant 8)', async () => {
  await using outbox = await Outbox.create();
  const streamer = outbox.stream({ OUTBOX_RETRY_MAX_MS: '200' });
  await streamer.attached();
  await outbox.fill(10);
  await outbox.untilDelivered(10);
  await outbox.postgres.query('DROP PUBLICATION outbox');
  await outbox.fill(20, 'test.unpublished');
  await streamer.failure('OUTBOX_PUBLICATION_MISSING');
  await outbox.migrate();
  await streamer.failure('OUTBOX_PUBLICATION_CHANGED');
  const report = await repaired(outbox);
  expect(report).toMatchObject({ gap: 'the publication was changed', missing: 20, sent: 20 });
  await outbox.fill(5);
  await outbox.untilDelivered(35);
  await expectIdentical(outbox);
  expect(await streamer.stop()).toBe(0);
}, 120_000);

test.concurrent('`repair` fills the gap of a publication that was dropped and restored before the first start (invariant 8)', async () => {
  await using outbox = await Outbox.create();
  await outbox.fill(10);
  await outbox.postgres.query('DROP PUBLICATION outbox');
  await outbox.fill(20, 'test.unpublished');
  await outbox.migrate();
  const streamer = outbox.stream({ OUTBOX_RETRY_MAX_MS: '200' });
  await streamer.failure('OUTBOX_PUBLICATION_CHANGED');
  expect(await repaired(outbox)).toMatchObject({ gap: 'the publication was changed', missing: 30, sent: 30 });
  await outbox.fill(5);
  await outbox.untilDelivered(35);
  await expectIdentical(outbox);
  expect(await streamer.stop()).toBe(0);
}, 120_000);

test.concurrent('`repair --new-slot` delivers what is missing, and a stream that OUTBOX_RANGE_LOST stopped goes on', async () => {
  await using outbox = await Outbox.create();
  await outbox.fill(30);
  await outbox.postgres.query(
    "UPDATE outbox.stream SET pending_lsn = delivered_lsn + 8, pending_seq = 7, pending_rows = 7, pending_token = 'false', pending_at = now() WHERE slot_name = $1",
    [outbox.slot],
  );
  const streamer = outbox.stream({ OUTBOX_RETRY_MAX_MS: '200' });
  await streamer.failure('OUTBOX_RANGE_LOST');
  expect(await repaired(outbox, ['--new-slot'])).toMatchObject({
    gap: 'a new slot was asked for',
    missing: 30,
    sent: 30,
  });
  await outbox.fill(5);
  await outbox.untilDelivered(35);
  await expectIdentical(outbox);
  expect(await streamer.stop()).toBe(0);
}, 120_000);

test.concurrent('`repair` quarantines an event that ClickHouse rejects in a second run, with no other write in between', async () => {
  await using outbox = await Outbox.create();
  const streamer = outbox.stream();
  await streamer.attached();
  await outbox.fill(10);
  await outbox.untilDelivered(10);
  const remove = async (where: string): Promise<unknown> =>
    outbox.clickhouse.command({
      query: `DELETE FROM events WHERE ${where}`,
      clickhouse_settings: { mutations_sync: '2', lightweight_deletes_sync: '2' },
    });
  await remove('true');
  expect(await repaired(outbox)).toMatchObject({ missing: 10, sent: 10 });
  await remove('toUInt32(event_context.n) <= 5');
  await outbox.clickhouse.command({
    query:
      'ALTER TABLE events ADD CONSTRAINT sound CHECK NOT (toUInt32(event_context.n) = 3 AND length(event_type) > 0)',
  });
  const { code, stdout } = await command(outbox, ['repair', '--json'], QUICK).done;
  expect({ code, report: JSON.parse(stdout) as unknown }).toMatchObject({
    code: 1,
    report: { missing: 5, sent: 4, quarantined: 1 },
  });
  await outbox.clickhouse.command({ query: 'ALTER TABLE events DROP CONSTRAINT sound' });
  expect(await command(outbox, ['quarantine', 'retry', '--all']).done).toMatchObject({ code: 0 });
  await expectIdentical(outbox);
  expect(await streamer.stop()).toBe(0);
  const successor = outbox.stream();
  await successor.attached();
  await outbox.fill(1);
  await outbox.untilDelivered(11);
  expect(successor.logs.filter(({ err }) => err !== undefined)).toEqual([]);
  expect(await successor.stop()).toBe(0);
}, 120_000);

test.concurrent('`repair` quarantines what ClickHouse rejects, and delivers two events that share an id', async () => {
  await using outbox = await Outbox.create();
  await lostSlot(outbox, 0);
  await outbox.postgres.query(
    `INSERT INTO outbox.event (event_id, event_type, event_context)
     SELECT '00000000-0000-7000-8000-000000000001', CASE n WHEN 3 THEN 'poison' ELSE 'same' END, '{}' FROM generate_series(1, 3) n`,
  );
  await outbox.clickhouse.command({ query: "ALTER TABLE events ADD CONSTRAINT sound CHECK event_type != 'poison'" });
  const { code, stdout } = await command(outbox, ['repair', '--json'], QUICK).done;
  expect(code).toBe(1);
  expect(JSON.parse(stdout)).toMatchObject({ missing: 3, sent: 2, quarantined: 1 });
  await outbox.clickhouse.command({ query: 'ALTER TABLE events DROP CONSTRAINT sound' });
  const retried = await command(outbox, ['quarantine', 'retry', '--all', '--json']).done;
  expect(JSON.parse(retried.stdout)).toMatchObject({ delivered: 1 });
  const streamer = outbox.stream();
  await streamer.attached();
  await expectIdentical(outbox);
  expect(await outbox.delivered()).toEqual({ rows: 303, events: 301 });
  expect(await streamer.stop()).toBe(0);
}, 120_000);

test.concurrent('`repair` sends no event that detached parts may hold, and `doctor` names them; attached again, each event is there once', async () => {
  await using clickhouse = await startClickHouse();
  await using outbox = await Outbox.create({ clickhouseUrl: clickhouse.url });
  const streamer = outbox.stream();
  await outbox.fill(20);
  await outbox.untilDelivered(20);
  await outbox.clickhouse.command({ query: 'ALTER TABLE events DETACH PARTITION ALL' });
  const refused = await command(outbox, ['repair', '--dry-run']).done;
  expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining('OUTBOX_CH_PARTS_DETACHED') });
  const environment = { DATABASE_URL: outbox.databaseUrl, CLICKHOUSE_URL: outbox.clickhouseUrl };
  const look = async (): Promise<Finding | undefined> =>
    findingOf(await examine({ ...environment, OUTBOX_SLOT: outbox.slot }), 'clickhouse.detached_parts');
  await apply((await look())!.fix[0]!, outbox);
  expect(await outbox.delivered()).toEqual({ rows: 20, events: 20 });
  expect(await look()).toBeUndefined();

  const [part] = await outbox.select<{ path: string }>(
    "SELECT path FROM system.parts WHERE active AND table = 'events' AND database = currentDatabase()",
  );
  await clickhouse.stop();
  await truncate(join(part!.path, 'checksums.txt'), 10);
  await clickhouse.start();
  expect(await outbox.delivered()).toEqual({ rows: 0, events: 0 });
  const broken = await command(outbox, ['repair', '--dry-run']).done;
  expect(broken).toMatchObject({ code: 1, stderr: expect.stringContaining('broken-on-start') });
  expect((await look())?.found).toContain('broken-on-start');
  expect(await repaired(outbox, ['--send-again'])).toMatchObject({ missing: 20, sent: 20 });
  expect(await outbox.delivered()).toEqual({ rows: 20, events: 20 });
  expect(await streamer.stop()).toBe(0);
});
