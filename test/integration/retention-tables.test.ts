import { expect, test } from 'vitest';
import { onFreePort } from '../../src/embedded/ports.ts';
import { createLogger } from '../../src/streamer/observe/log.ts';
import { holderOf } from '../../src/streamer/ledger/holder.ts';
import { migratePostgres } from '../../src/streamer/commands/migrate.ts';
import { Status } from '../../src/streamer/observe/readiness.ts';
import { Database } from '../../src/streamer/source/database.ts';
import { RetentionJob } from '../../src/streamer/retention/job.ts';
import { Retention } from '../../src/streamer/retention/retention.ts';
import { Outbox } from '../support/outbox.ts';
import {
  OFF,
  ROW,
  VALUES,
  configOf,
  connect,
  retain,
  fillDaysAgo,
  bucketOf,
  untilOlderAreOver,
  kept,
} from '../support/retention.ts';
import { eventually } from '../support/wait.ts';

test.concurrent('the ring has come round: said once, nothing lost, the old rows are deleted and the new ones stay', async () => {
  await using outbox = await Outbox.create();
  const port = await onFreePort(0, async (free) => free);
  await fillDaysAgo(outbox, 33, 5000);
  await fillDaysAgo(outbox, 1, 300);
  const table = await bucketOf(outbox, 1);
  expect(await bucketOf(outbox, 33)).toBe(table);
  // without a streamer they only share it
  expect(await retain(outbox)).toMatchObject({ comeRound: [table], emptied: [], left: { table } });
  await untilOlderAreOver(outbox);
  const streamer = outbox.stream({ OUTBOX_HEALTH_PORT: String(port) });
  const line = await streamer.failure('OUTBOX_RETENTION_RING');
  expect(line).toMatchObject({ level: 'warn', table });
  const problem = async (): Promise<unknown> =>
    ((await (await fetch(`http://127.0.0.1:${port}/readyz`)).json()) as { retention?: { problem?: string } }).retention
      ?.problem;
  expect(await eventually('it is in the status', problem)).toBe('OUTBOX_RETENTION_RING');
  expect(await kept(outbox)).toEqual({ '1 days': 300 });
  const removed = await streamer.log(({ msg }) => msg === 'removed expired events of the outbox');
  expect(removed).toMatchObject({ table, by: 'DELETE', rows: 5000 });
  await outbox.untilDelivered(5300);
  expect(await streamer.stop()).toBe(0);
  expect(streamer.logs.filter(({ err }) => err?.code === 'OUTBOX_RETENTION_RING')).toHaveLength(1);
});

test.concurrent('a plain table of the user’s own: what is delivered and older is deleted, and nothing of that is in the stream', async () => {
  await using outbox = await Outbox.create();
  await outbox.postgres.query(`
    CREATE TABLE outbox.own (LIKE outbox.event INCLUDING DEFAULTS);
    DROP TABLE outbox.event;
    ALTER TABLE outbox.own RENAME TO event;
    UPDATE outbox.stream SET publication = NULL`);
  await migratePostgres(outbox.databaseUrl, outbox.slot, () => undefined);
  const streamer = outbox.stream(OFF);
  await streamer.attached();
  await fillDaysAgo(outbox, 9, 20_000);
  await outbox.fill(100);
  await outbox.untilDelivered(20_100);
  await untilOlderAreOver(outbox);
  // not committed when delivery is proved: it was recorded long ago, and stays
  const late = await connect(outbox);
  await late.query('BEGIN');
  await late.query(`INSERT INTO outbox.event ${ROW} ${VALUES}`, ['late', 9, 1]);
  // committed and delivered, but behind one that is still open: whether it is, an id alone does not tell
  await fillDaysAgo(outbox, 9, 5, 'behind');
  await outbox.untilDelivered(20_105);
  const removed = { table: 'outbox.event', by: 'DELETE', rows: 20_000, bytes: 0 };
  expect(await retain(outbox, { isDry: true })).toMatchObject({ emptied: [removed] });
  expect(await kept(outbox)).toEqual({ '9 days': 20_000, behind: 5, 'test.filled': 100 });
  expect(await retain(outbox)).toMatchObject({ emptied: [removed], comeRound: [] });
  await late.query('COMMIT');
  await late.end();
  expect(await kept(outbox)).toEqual({ behind: 5, late: 1, 'test.filled': 100 });
  await outbox.untilDelivered(20_106);
  await untilOlderAreOver(outbox);
  expect(await retain(outbox)).toMatchObject({ emptied: [{ rows: 6 }], left: undefined });
  await outbox.fill(1);
  await outbox.untilDelivered(20_107);
  expect(await outbox.delivered()).toEqual({ rows: 20_107, events: 20_107 });
  expect(streamer.logs.filter(({ level }) => level === 'warn' || level === 'error')).toEqual([]);
});

test.concurrent('two slots: what one of them has not delivered stays', async () => {
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
    expect(await eventually('both have', async () => (await retain(outbox)).emptied[0])).toMatchObject({ rows: 10 });
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

test.concurrent('a retention that fails is in the status, until one comes as far as a lock; it is not taken for a standby', async () => {
  await using outbox = await Outbox.create();
  const streamer = outbox.stream(OFF);
  // expired, but not by a day: who holds a lock then only passes
  await fillDaysAgo(outbox, 7, 10);
  await outbox.untilDelivered(10);
  const table = await bucketOf(outbox, 7);
  await outbox.postgres.query(`
    CREATE FUNCTION outbox.refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'refused'; END$$;
    CREATE TRIGGER refuse BEFORE TRUNCATE ON ${table} EXECUTE FUNCTION outbox.refuse()`);
  const status = new Status();
  status.streaming();
  const job = new RetentionJob(configOf(outbox), createLogger({ level: 'fatal' }), status);
  const problem = (): unknown => status.readiness.retention?.problem;
  const writer = await connect(outbox);
  try {
    job.start();
    await eventually('it has failed', () => problem() === 'OUTBOX_PG_FAILED');
    expect(status.readiness.retention).toEqual({ ranAt: expect.any(Number), emptied: 0, problem: 'OUTBOX_PG_FAILED' });
    await writer.query(`BEGIN; LOCK TABLE ${table} IN ROW EXCLUSIVE MODE`);
    job.start();
    await eventually('it met a lock', () => problem() === undefined);
    expect(status.readiness.retention).toMatchObject({ emptied: 0, bytes: expect.any(Number) });
    expect(await kept(outbox)).toEqual({ '7 days': 10 });
  } finally {
    job.stop();
    await writer.end();
  }
  expect(await streamer.stop()).toBe(0);

  // nobody delivers: it waits, with both of its connections
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
