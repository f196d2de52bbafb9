import { Client } from 'pg';
import { expect, test } from 'vitest';
import { command } from '../support/command.ts';
import { Outbox } from '../support/outbox.ts';
import { eventually } from '../support/wait.ts';

/** Another outbox.event takes the place of this one, as a bloated log table is sometimes made a second time. */
const REPLACED = `
  BEGIN;
  ALTER TABLE outbox.event RENAME TO event_old;
  DO $$ BEGIN
    FOR bucket IN 0..31 LOOP
      EXECUTE format('ALTER TABLE outbox.event_%s RENAME TO old_%s', lpad(bucket::text, 2, '0'), bucket);
    END LOOP;
  END $$;
  CREATE TABLE outbox.event (LIKE outbox.event_old INCLUDING ALL) PARTITION BY LIST (bucket);
  DO $$ BEGIN
    FOR bucket IN 0..31 LOOP
      EXECUTE format('CREATE TABLE outbox.event_%s PARTITION OF outbox.event FOR VALUES IN (%s)', lpad(bucket::text, 2, '0'), bucket);
    END LOOP;
  END $$;
  COMMIT`;

test.concurrent('the streamer stops at rows of a published table that outbox.event was a partition of, and repair sends them', async () => {
  await using outbox = await Outbox.create();
  const streamer = outbox.stream({ OUTBOX_INSERT_TIMEOUT_MS: '1000' });
  await outbox.fill(2);
  await outbox.untilDelivered(2);
  await outbox.postgres.query('CREATE TABLE public.super (LIKE outbox.event) PARTITION BY LIST (bucket)');
  const client = await outbox.postgres.connect();
  await client.query(`BEGIN;
    ALTER TABLE public.super ATTACH PARTITION outbox.event DEFAULT;
    ALTER PUBLICATION outbox ADD TABLE public.super;
    INSERT INTO outbox.event (event_type, event_context) SELECT 'test.hidden', '{}' FROM generate_series(1, 7);
    ALTER PUBLICATION outbox DROP TABLE public.super;
    ALTER TABLE public.super DETACH PARTITION outbox.event;
    COMMIT`);
  client.release();
  await streamer.failure('OUTBOX_PG_TABLE_CHANGED');
  await streamer.kill();
  const repaired = await command(outbox, ['repair', '--json'], { OUTBOX_INSERT_TIMEOUT_MS: '1000' }).done;
  expect(JSON.parse(repaired.stdout)).toMatchObject({ missing: 7, sent: 7 });
  expect(await outbox.delivered()).toEqual({ rows: 9, events: 9 });
});

test.concurrent('`repair` refuses while the table that the slot streamed has another name, and sends its events once they are copied', async () => {
  await using outbox = await Outbox.create();
  const streamer = outbox.stream();
  await outbox.fill(5);
  await outbox.untilDelivered(5);
  expect(await streamer.stop()).toBe(0);
  await outbox.fill(7);
  await outbox.postgres.query(REPLACED);
  const environment = { OUTBOX_INSERT_TIMEOUT_MS: '1000' };
  expect((await command(outbox, ['migrate']).done).code).toBe(0);
  const refused = await command(outbox, ['repair'], environment).done;
  expect(refused.code).toBe(1);
  expect(refused.stderr).toContain('OUTBOX_PG_TABLE_REPLACED');
  expect(refused.stderr).toContain('outbox.event_old');
  await outbox.postgres.query('INSERT INTO outbox.event SELECT * FROM outbox.event_old; DROP TABLE outbox.event_old');
  const repaired = await command(outbox, ['repair', '--json'], environment).done;
  expect(JSON.parse(repaired.stdout)).toMatchObject({ missing: 7, sent: 7 });
  expect(await outbox.delivered()).toEqual({ rows: 12, events: 12 });
  const successor = outbox.stream();
  await outbox.fill(1);
  await outbox.untilDelivered(13);
  expect(await successor.stop()).toBe(0);
});

test.concurrent('the streamer and `doctor` report a ledger and a quarantine that a crash would empty', async () => {
  await using outbox = await Outbox.create();
  await outbox.postgres.query('ALTER TABLE outbox.stream SET UNLOGGED; ALTER TABLE outbox.quarantine SET UNLOGGED');
  const streamer = outbox.stream();
  const { err } = await streamer.failure('OUTBOX_PG_TABLE_UNSUITABLE');
  expect(err?.problems).toEqual([
    'outbox.quarantine is not logged: ALTER TABLE outbox.quarantine SET LOGGED',
    'outbox.stream is not logged: ALTER TABLE outbox.stream SET LOGGED',
  ]);
  const { stdout } = await command(outbox, ['doctor', '--json']).done;
  expect(stdout).toContain('ALTER TABLE outbox.stream SET LOGGED');
  await streamer.kill();
});

test.concurrent('an event that a trigger keeps out of quarantine stays pending, and `doctor` names the trigger', async () => {
  await using outbox = await Outbox.create();
  await outbox.clickhouse.command({ query: "ALTER TABLE events ADD CONSTRAINT good CHECK event_type != 'bad'" });
  await outbox.postgres.query(`
    CREATE FUNCTION public.swallow() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NULL; END$$;
    CREATE TRIGGER swallow BEFORE INSERT ON outbox.quarantine FOR EACH ROW EXECUTE FUNCTION public.swallow()`);
  const streamer = outbox.stream({ OUTBOX_INSERT_TIMEOUT_MS: '1000' });
  await outbox.fill(1, 'bad');
  await outbox.fill(1);
  await streamer.failure('OUTBOX_PG_WRITE_IGNORED');
  const { stdout } = await command(outbox, ['doctor', '--json']).done;
  expect(stdout).toContain('DROP TRIGGER swallow ON outbox.quarantine');
  await outbox.postgres.query('DROP TRIGGER swallow ON outbox.quarantine');
  // another that the table takes shows that the event is at fault
  await outbox.fill(1);
  await outbox.untilDelivered(2);
  await eventually('it is set aside', async () => {
    const { rowCount } = await outbox.postgres.query('SELECT FROM outbox.quarantine');
    return rowCount === 1;
  });
  expect(await streamer.stop()).toBe(0);
});

test.concurrent('`repair` in a copy of the database leaves the slot of the original alone', async () => {
  await using outbox = await Outbox.create();
  const copy = `${outbox.slot.slice(0, 50)}_copy`;
  const url = new URL(outbox.databaseUrl);
  await outbox.postgres.query(
    'SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()',
  );
  const admin = new Client({ connectionString: Object.assign(new URL(url), { pathname: '/postgres' }).href });
  await admin.connect();
  await outbox.postgres.query('SELECT 1');
  await eventually('it is copied', async () => {
    await admin.query('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1', [outbox.slot]);
    return admin.query(`CREATE DATABASE ${copy} TEMPLATE ${outbox.slot}`).then(
      () => true,
      () => false,
    );
  });
  const { code, stderr } = await command(outbox, ['repair', '--new-slot'], {
    DATABASE_URL: Object.assign(new URL(url), { pathname: `/${copy}` }).href,
  }).done;
  expect(code).toBe(1);
  expect(stderr).toContain('OUTBOX_SLOT_INVALID');
  const { rows } = await admin.query('SELECT database FROM pg_replication_slots WHERE slot_name = $1', [outbox.slot]);
  expect(rows).toEqual([{ database: outbox.slot }]);
  await admin.query(`DROP DATABASE ${copy} WITH (FORCE)`);
  await admin.end();
});

test.concurrent('`migrate` refuses a publication of its name that publishes other tables, and changes nothing', async () => {
  await using outbox = await Outbox.create({ migrated: false });
  await outbox.postgres.query(
    'CREATE TABLE public.outbox (id int PRIMARY KEY); CREATE PUBLICATION outbox FOR TABLE public.outbox',
  );
  const { rows: made } = await outbox.postgres.query("SELECT pg_create_logical_replication_slot($1, 'pgoutput')", [
    outbox.slot,
  ]);
  expect(made).toHaveLength(1);
  await outbox.postgres.query('INSERT INTO public.outbox SELECT generate_series(1, 5)');
  const { code, stderr } = await command(outbox, ['migrate']).done;
  expect(code).toBe(1);
  expect(stderr).toContain('OUTBOX_PUBLICATION_FOREIGN');
  const { rows } = await outbox.postgres.query(
    `SELECT pubupdate, (SELECT array_agg(tablename::text) FROM pg_publication_tables WHERE pubname = 'outbox') AS tables,
            (SELECT confirmed_flush_lsn < pg_current_wal_lsn() FROM pg_replication_slots WHERE slot_name = $1) AS waits,
            to_regnamespace('outbox') IS NULL AS untouched
       FROM pg_publication WHERE pubname = 'outbox'`,
    [outbox.slot],
  );
  expect(rows).toEqual([{ pubupdate: true, tables: ['outbox'], waits: true, untouched: true }]);
  await outbox.postgres.query('ALTER PUBLICATION outbox RENAME TO theirs');
  await eventually('the name is free', async () => (await command(outbox, ['migrate']).done).code === 0);
});
