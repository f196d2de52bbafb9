import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { migratePostgres } from '../../src/streamer/commands/migrate-postgres.ts';
import { connectClient, endClient } from '../../src/streamer/source/database.ts';
import { command } from '../support/command.ts';
import { Outbox } from '../support/outbox.ts';
import { Proxy } from '../support/proxy.ts';
import { eventually } from '../support/wait.ts';

const ROLES = await readFile(new URL('../../migrations/postgres/roles.sql', import.meta.url), 'utf8');
const TODAY = 'SELECT tableoid::regclass::text AS name FROM outbox.event ORDER BY recorded_at DESC LIMIT 1';

async function repaired(outbox: Outbox): Promise<void> {
  const { code, stdout } = await command(outbox, ['repair', '--json'], { OUTBOX_INSERT_TIMEOUT_MS: '1000' }).done;
  expect({ code, stdout }).toMatchObject({ code: 0 });
}

async function partitionOfToday(outbox: Outbox): Promise<string> {
  const { rows } = await outbox.postgres.query<{ name: string }>(TODAY);
  return rows[0]!.name;
}

test.concurrent('the streamer delivers events of a table that was renamed and back again while no streamer ran', async () => {
  await using outbox = await Outbox.create();
  await outbox.postgres.query(`
    BEGIN;
    ALTER TABLE outbox.event RENAME TO event_old;
    INSERT INTO outbox.event_old (event_type, event_context) VALUES ('test.renamed', '{}');
    ALTER TABLE outbox.event_old RENAME TO event;
    COMMIT`);
  const streamer = outbox.stream();
  await outbox.fill(50);
  await outbox.untilDelivered(51);
  await outbox.postgres.query(
    'ALTER TABLE outbox.event RENAME TO event_old; ALTER TABLE outbox.event_old RENAME TO event',
  );
  await outbox.fill(50);
  await outbox.untilDelivered(101);
  expect(await streamer.stop()).toBe(0);
});

test.concurrent('the streamer reports an unlogged partition, and asks for `repair` once it is logged again', async () => {
  await using outbox = await Outbox.create();
  const streamer = outbox.stream();
  await outbox.fill(1);
  await outbox.untilDelivered(1);
  const partition = await partitionOfToday(outbox);
  await outbox.postgres.query(`ALTER TABLE ${partition} SET UNLOGGED`);
  await outbox.fill(5);
  const { err } = await streamer.failure('OUTBOX_PG_TABLE_UNSUITABLE');
  expect(err?.problems).toEqual([expect.stringContaining(`ALTER TABLE ${partition} SET LOGGED`)]);
  await outbox.postgres.query(`ALTER TABLE ${partition} SET LOGGED`);
  await streamer.failure('OUTBOX_PUBLICATION_CHANGED');
  expect(await streamer.stop()).toBe(0);
  await repaired(outbox);
  outbox.stream();
  await outbox.fill(1);
  await outbox.untilDelivered(7);
});

test.concurrent('`migrate` and the streamer refuse a slot with two_phase, and `repair` makes a new one', async () => {
  await using outbox = await Outbox.create();
  await outbox.postgres.query(
    `SELECT pg_drop_replication_slot('${outbox.slot}'), pg_create_logical_replication_slot('${outbox.slot}', 'pgoutput', false, true)`,
  );
  const refused = { code: 'OUTBOX_SLOT_INVALID', message: expect.stringContaining('two_phase') };
  await expect(migratePostgres(outbox.databaseUrl, outbox.slot, () => undefined)).rejects.toMatchObject(refused);
  const streamer = outbox.stream();
  const { err } = await streamer.failure('OUTBOX_SLOT_INVALID');
  expect(err?.message).toContain('two_phase');
  expect(await streamer.stop()).toBe(0);
  await outbox.fill(1);
  await repaired(outbox);
  outbox.stream();
  await outbox.fill(1);
  await outbox.untilDelivered(2);
});

test.concurrent('the streamer writes its ledger in a database whose transactions are read-only by default', async () => {
  await using outbox = await Outbox.create();
  await outbox.fill(10);
  await outbox.postgres.query(`ALTER DATABASE ${outbox.slot} SET default_transaction_read_only = on`);
  const streamer = outbox.stream();
  await outbox.untilDelivered(10);
  expect(await streamer.stop()).toBe(0);
});

test.concurrent('no session of a streamer has a time limit of the database', async () => {
  await using outbox = await Outbox.create();
  const settings = [
    'statement_timeout',
    'idle_in_transaction_session_timeout',
    // known since 17
    'transaction_timeout',
  ];
  const { rows: known } = await outbox.postgres.query<{ name: string }>(
    'SELECT name FROM pg_settings WHERE name = ANY ($1)',
    [settings],
  );
  for (const { name } of known) await outbox.postgres.query(`ALTER DATABASE ${outbox.slot} SET ${name} = '1s'`);
  for (const replication of [false, true]) {
    const client = await connectClient(outbox.databaseUrl, { replication }, () => undefined);
    for (const { name } of known) expect((await client.query(`SHOW ${name}`)).rows).toEqual([{ [name]: '0' }]);
    await endClient(client);
  }
});

test.concurrent('no command calls a function that somebody put into the schema public', async () => {
  await using outbox = await Outbox.create({ migrated: false });
  const twins = [
    'format(text, text, integer)',
    'format(text, regclass)',
    'concat_ws(text, text, text)',
    'quote_ident(name)',
  ];
  await outbox.postgres.query('CREATE TABLE public.called (twin text)');
  for (const twin of twins)
    await outbox.postgres.query(`CREATE FUNCTION public.${twin} RETURNS text LANGUAGE sql AS $$
      INSERT INTO public.called VALUES ('${twin}') RETURNING twin $$`);
  await outbox.postgres.query(`CREATE FUNCTION public.unnest(uuid[]) RETURNS SETOF uuid LANGUAGE sql AS $$
      INSERT INTO public.called VALUES ('unnest') RETURNING gen_random_uuid() $$`);
  await outbox.migrate();
  const streamer = outbox.stream({ OUTBOX_RETENTION_DAYS: '1' });
  await outbox.fill(10);
  await outbox.untilDelivered(10);
  await repaired(outbox);
  expect(await streamer.stop()).toBe(0);
  const { rows } = await outbox.postgres.query('SELECT DISTINCT twin FROM public.called');
  expect(rows).toEqual([]);
});

test.concurrent.for(['SQL, DMY', 'German'])(
  'a streamer goes on from a pending insert in a database whose DateStyle is %s',
  async (style) => {
    await using outbox = await Outbox.create();
    await outbox.postgres.query(`ALTER DATABASE ${outbox.slot} SET DateStyle = '${style}'`);
    const { proxy, url } = await Proxy.to(new URL(outbox.clickhouseUrl));
    const streamer = outbox.stream({ CLICKHOUSE_URL: url, OUTBOX_INSERT_TIMEOUT_MS: '1000' });
    await outbox.fill(1);
    await outbox.untilDelivered(1);
    proxy.isolate();
    await outbox.fill(5);
    await eventually('an insert is pending', async () => (await outbox.ledger())['pending_token'] !== null);
    await streamer.kill();
    const successor = outbox.stream({ OUTBOX_INSERT_TIMEOUT_MS: '1000' });
    await outbox.untilDelivered(6);
    expect(await successor.stop()).toBe(0);
    expect(await command(outbox, ['quarantine', 'list']).done).toMatchObject({ code: 0, stderr: '' });
  },
);

test.concurrent('`verify` and `repair` refuse to compare rows of which a policy may hide some, and `doctor` says so', async () => {
  await using outbox = await Outbox.create();
  const role = `reader_${outbox.slot}`;
  await outbox.postgres
    .query(`${ROLES}; CREATE ROLE ${role} LOGIN REPLICATION PASSWORD 'p'; GRANT outbox_streamer TO ${role};
    ALTER TABLE outbox.event ENABLE ROW LEVEL SECURITY`);
  const restricted = {
    databaseUrl: Object.assign(new URL(outbox.databaseUrl), { username: role, password: 'p' }).href,
    clickhouseUrl: outbox.clickhouseUrl,
    slot: outbox.slot,
  };
  await outbox.fill(7);
  await outbox.postgres.query(`SELECT pg_drop_replication_slot('${outbox.slot}')`);
  for (const args of [['verify', '--wait', '0'], ['repair']]) {
    const { code, stderr } = await command(restricted, args, { OUTBOX_INSERT_TIMEOUT_MS: '1000' }).done;
    expect({ code, stderr }).toMatchObject({ code: 1, stderr: expect.stringContaining('OUTBOX_PG_PRIVILEGE') });
    expect(stderr).toContain('row-level security');
  }
  const { stdout } = await command(restricted, ['doctor', '--json']).done;
  expect(stdout).toContain('ALTER TABLE outbox.event DISABLE ROW LEVEL SECURITY');
  await outbox.postgres.query(`DROP OWNED BY ${role}; DROP ROLE ${role}`);
});

test.concurrent('the streamer names a way to replace a partition that is a foreign table', async () => {
  await using outbox = await Outbox.create();
  await outbox.postgres.query(`CREATE FOREIGN DATA WRAPPER none; CREATE SERVER none FOREIGN DATA WRAPPER none;
    ALTER TABLE outbox.event DETACH PARTITION outbox.event_05;
    CREATE FOREIGN TABLE outbox.elsewhere PARTITION OF outbox.event FOR VALUES IN (5) SERVER none`);
  const { err } = await outbox.stream().failure('OUTBOX_PG_TABLE_UNSUITABLE');
  expect(err?.problems).toEqual([expect.stringContaining('DETACH PARTITION outbox.elsewhere')]);
});

test.concurrent('`migrate` and the streamer refuse a publication that holds the table with its schema alone', async () => {
  await using outbox = await Outbox.create();
  await outbox.postgres.query('ALTER PUBLICATION outbox SET TABLES IN SCHEMA outbox');
  const { err } = await outbox.stream().failure('OUTBOX_PUBLICATION_MISSING');
  expect(err?.problems).toEqual([expect.stringContaining('with its schema alone')]);
  await migratePostgres(outbox.databaseUrl, outbox.slot, () => undefined);
  await repaired(outbox);
  outbox.stream();
  await outbox.fill(3);
  await outbox.untilDelivered(3);
});

test.concurrent('a publication of all tables may get another owner', async () => {
  await using outbox = await Outbox.create();
  const role = `owner_${outbox.slot}`;
  await outbox.postgres.query(
    "DROP PUBLICATION outbox; CREATE PUBLICATION outbox FOR ALL TABLES WITH (publish = 'insert', publish_via_partition_root = true)",
  );
  await repaired(outbox);
  const streamer = outbox.stream();
  await outbox.fill(1);
  await outbox.untilDelivered(1);
  await outbox.postgres.query(`CREATE ROLE ${role} SUPERUSER; ALTER PUBLICATION outbox OWNER TO ${role}`);
  await outbox.fill(1);
  await outbox.untilDelivered(2);
  expect(streamer.logs.filter(({ err }) => err?.code === 'OUTBOX_PUBLICATION_CHANGED')).toEqual([]);
  expect(await streamer.stop()).toBe(0);
  await outbox.postgres.query(`ALTER PUBLICATION outbox OWNER TO postgres; DROP ROLE ${role}`);
});

test.concurrent('the streamer and `doctor` name tables that inherit from an outbox that is one table: they are not published', async () => {
  await using outbox = await Outbox.create();
  await outbox.postgres.query(`
    CREATE TABLE outbox.plain (LIKE outbox.event INCLUDING DEFAULTS INCLUDING CONSTRAINTS);
    DROP TABLE outbox.event; ALTER TABLE outbox.plain RENAME TO event;
    CREATE TABLE outbox.child () INHERITS (outbox.event)`);
  await expect(migratePostgres(outbox.databaseUrl, outbox.slot, () => undefined)).rejects.toMatchObject({
    code: 'OUTBOX_PG_TABLE_UNSUITABLE',
    problems: ['ALTER TABLE outbox.child NO INHERIT outbox.event: its rows are not published'],
  });
  const { stdout } = await command(outbox, ['doctor', '--json']).done;
  expect(stdout).toContain('ALTER TABLE outbox.child NO INHERIT outbox.event');
  expect(stdout).toContain('outbox.event is one table');
});
