import { expect, test } from 'vitest';
import { createLogger } from '../../src/streamer/observe/log.ts';
import { holderOf } from '../../src/streamer/ledger/holder.ts';
import { migratePostgres } from '../../src/streamer/commands/migrate.ts';
import { Readiness } from '../../src/streamer/observe/readiness.ts';
import { Database } from '../../src/streamer/source/database.ts';
import { RetentionJob } from '../../src/streamer/retention/job.ts';
import { Retention } from '../../src/streamer/retention/retention.ts';
import { command } from '../support/command.ts';
import { apply, examine, findingOf } from '../support/doctor.ts';
import { Outbox } from '../support/outbox.ts';
import { OFF, ROW, configOf, connect, retain, fillDaysAgo, bucketOf, kept } from '../support/retention.ts';
import { eventually } from '../support/wait.ts';

test.concurrent('retention keeps a partition that the ring came round to, and all younger ones, until its newest rows expire', async () => {
  await using outbox = await Outbox.create();
  await fillDaysAgo(outbox, 33, 500);
  await fillDaysAgo(outbox, 9, 50);
  await fillDaysAgo(outbox, 1, 300);
  const table = await bucketOf(outbox, 1);
  expect(await bucketOf(outbox, 33)).toBe(table);
  const streamer = outbox.stream();
  await outbox.untilDelivered(850);
  const { err } = await streamer.failure('OUTBOX_RETENTION_HELD');
  expect(err?.message).toContain(`${table}: the ring came round to it`);
  expect(await kept(outbox)).toEqual({ '33 days': 500, '9 days': 50, '1 days': 300 });
  // a week later
  await outbox.postgres.query("UPDATE outbox.event SET recorded_at = recorded_at - interval '8 days'");
  await eventually('both are emptied', async () => (await retain(outbox)).removed.length === 2);
  expect(await kept(outbox)).toEqual({});
  expect(await streamer.stop()).toBe(0);
});

test.concurrent('rows whose recorded_at was filled in change nothing for `verify`, and hold up no retention', async () => {
  await using outbox = await Outbox.create();
  const streamer = outbox.stream(OFF);
  await fillDaysAgo(outbox, 10, 20);
  await fillDaysAgo(outbox, 9, 20);
  await outbox.fill(3);
  const fill = `INSERT INTO outbox.event ${ROW} SELECT 'filled in', '{}', now() + make_interval(days => $1::int), (extract(epoch FROM now())::bigint / 86400 - $2) % 32`;
  await outbox.postgres.query(fill, [300, 9]);
  await outbox.untilDelivered(44);
  expect((await retain(outbox)).removed).toHaveLength(2);
  await outbox.postgres.query(fill, [-40, 0]);
  await outbox.untilDelivered(45);
  const { code, stdout } = await command(outbox, ['verify', '--json']).done;
  expect(JSON.parse(stdout)).toMatchObject({ identical: true, extra: 0, expired: 41 });
  expect(code).toBe(0);
  await fillDaysAgo(outbox, 8, 20);
  await outbox.untilDelivered(65);
  const { removed, kept: stays } = await retain(outbox);
  expect({ removed, stays }).toMatchObject({ removed: [{ table: await bucketOf(outbox, 8) }], stays: undefined });
  expect(await streamer.stop()).toBe(0);
});

test.concurrent('retention removes nothing from a table that is not the ring of partitions, and the streamer reports it', async () => {
  await using outbox = await Outbox.create();
  await outbox.postgres.query(`
    CREATE TABLE outbox.own (LIKE outbox.event INCLUDING DEFAULTS);
    DROP TABLE outbox.event;
    ALTER TABLE outbox.own RENAME TO event;
    UPDATE outbox.stream SET publication = NULL`);
  await migratePostgres(outbox.databaseUrl, outbox.slot, () => undefined);
  const streamer = outbox.stream();
  await fillDaysAgo(outbox, 9, 20);
  await outbox.untilDelivered(20);
  await expect(retain(outbox)).rejects.toMatchObject({ code: 'OUTBOX_PG_TABLE_UNSUITABLE' });
  const { err } = await streamer.failure('OUTBOX_PG_TABLE_UNSUITABLE');
  expect(err?.message).toContain('OUTBOX_RETENTION_DAYS=0');
  expect(await kept(outbox)).toEqual({ '9 days': 20 });
  expect(await streamer.stop()).toBe(0);
});

test.concurrent('retention keeps events until both of two slots have delivered them', async () => {
  await using outbox = await Outbox.create();
  const other = `${outbox.slot.slice(0, 40)}_other`;
  await migratePostgres(outbox.databaseUrl, other, () => undefined);
  try {
    const first = outbox.stream();
    await fillDaysAgo(outbox, 9, 10);
    await outbox.untilDelivered(10);
    const { err, level } = await first.failure('OUTBOX_RETENTION_HELD');
    expect(level).toBe('warn');
    expect(err?.message).toContain(`expired events stay in ${await bucketOf(outbox, 9)}: the slot "${other}"`);
    expect(await kept(outbox)).toEqual({ '9 days': 10 });
    const second = outbox.stream({ OUTBOX_SLOT: other, ...OFF });
    expect(await eventually('both have', async () => (await retain(outbox)).removed[0])).toMatchObject({ rows: 10 });
    expect(await second.stop()).toBe(0);
  } finally {
    await eventually('the slot is free', async () => {
      const { rowCount } = await outbox.postgres.query(
        'SELECT FROM pg_replication_slots WHERE slot_name = $1 AND active',
        [other],
      );
      return rowCount === 0;
    });
    await outbox.postgres.query('SELECT pg_drop_replication_slot($1)', [other]);
  }
});

test.concurrent('readiness reports a failed retention until a later run only meets a lock; retention counts as no standby', async () => {
  await using outbox = await Outbox.create();
  const streamer = outbox.stream(OFF);
  // the rows are expired for less than a day, so retention does not yet report a lock that someone holds as a problem
  await fillDaysAgo(outbox, 7, 10);
  await outbox.untilDelivered(10);
  const table = await bucketOf(outbox, 7);
  await outbox.postgres.query(`
    CREATE FUNCTION outbox.refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'refused'; END$$;
    CREATE TRIGGER refuse BEFORE TRUNCATE ON ${table} EXECUTE FUNCTION outbox.refuse()`);
  const readiness = new Readiness();
  readiness.streaming();
  const job = new RetentionJob(configOf(outbox), createLogger({ level: 'fatal' }, process.stdout), readiness);
  const problem = (): unknown => readiness.report.retention?.problem;
  const writer = await connect(outbox);
  try {
    job.start();
    await eventually('it has failed', () => problem() === 'OUTBOX_PG_FAILED');
    expect(readiness.report.retention).toEqual({ ranAt: expect.any(Number), emptied: 0, problem: 'OUTBOX_PG_FAILED' });
    await writer.query(`BEGIN; LOCK TABLE ${table} IN ROW EXCLUSIVE MODE`);
    job.start();
    await eventually('it met a lock', () => problem() === undefined);
    expect(readiness.report.retention).toMatchObject({ emptied: 0, bytes: expect.any(Number) });
    expect(await kept(outbox)).toEqual({ '7 days': 10 });
  } finally {
    job.stop();
    await writer.end();
  }
  expect(await streamer.stop()).toBe(0);

  // a run of retention has two connections, and neither may count as a standby
  await outbox.fill(1);
  const over = new AbortController();
  const waiting = new Retention(configOf(outbox)).run({ signal: over.signal });
  const db = await Database.connect(outbox.databaseUrl, {}, () => undefined);
  try {
    await eventually('it waits', async () => {
      const { rows } = await db.query<{ n: number }>(
        `SELECT count(*)::int AS n FROM pg_stat_activity
          WHERE datname = current_database() AND application_name = 'pg-outbox-clickhouse retention'`,
      );
      return rows[0]!.n === 2;
    });
    expect(await holderOf(db, outbox.slot)).toMatchObject({ standbys: 0 });
  } finally {
    over.abort();
    await waiting.catch(() => undefined);
    await db.close();
  }
});

test.concurrent('retention removes expired events beside a publication of all tables', async () => {
  await using outbox = await Outbox.create();
  await outbox.postgres.query('CREATE PUBLICATION everything FOR ALL TABLES');
  const streamer = outbox.stream(OFF);
  await fillDaysAgo(outbox, 9, 20);
  await outbox.untilDelivered(20);
  await eventually('it is emptied', async () => (await retain(outbox)).removed.length === 1);
  expect(await streamer.stop()).toBe(0);
});

test.concurrent('retention and `doctor` name a row of the ledger without a slot, and a foreign key, that hold events', async () => {
  await using outbox = await Outbox.create();
  const streamer = outbox.stream(OFF);
  await fillDaysAgo(outbox, 9, 10);
  await outbox.untilDelivered(10);
  const { databaseUrl: DATABASE_URL, clickhouseUrl: CLICKHOUSE_URL, slot: OUTBOX_SLOT } = outbox;
  const found = async (id: string) => findingOf(await examine({ DATABASE_URL, CLICKHOUSE_URL, OUTBOX_SLOT }), id);
  await outbox.postgres.query(
    'INSERT INTO outbox.stream SELECT (jsonb_populate_record(s, \'{"slot_name": "gh\'\'ost"}\')).* FROM outbox.stream s',
  );
  const held = await eventually('the ghost row holds it', async () => {
    const { kept: stays } = await retain(outbox);
    return stays?.reason.includes('gh') === true && stays;
  });
  expect(held.reason).toBe('the slot "gh\'ost": the slot does not exist');
  const ghost = await found('postgres.slots');
  expect(ghost?.found).toBe('the slot "gh\'ost" does not exist');
  await apply(ghost!.fix[0]!, outbox);

  const table = await bucketOf(outbox, 9);
  await outbox.postgres.query(`
    ALTER TABLE ${table} ADD UNIQUE (event_id);
    CREATE TABLE public.mine (event uuid CONSTRAINT "my key" REFERENCES ${table} (event_id))`);
  const referred = await eventually('the key holds it', async () => {
    const { kept: stays } = await retain(outbox);
    return stays?.reason.includes('foreign key') === true && stays;
  });
  expect(referred).toEqual({
    table,
    reason: 'a foreign key refers to it, and TRUNCATE refuses: "my key" of public.mine',
    passes: false,
  });
  const key = await found('postgres.retention');
  expect(key?.found).toBe(`the foreign key "my key" of public.mine refers to ${table}`);
  await apply(key!.fix[0]!, outbox);
  await eventually('it is emptied', async () => (await retain(outbox)).removed.length === 1);
  expect(await streamer.stop()).toBe(0);
});
