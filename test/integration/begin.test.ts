import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { Client } from 'pg';
import { expect, test } from 'vitest';
import type { Finding } from '../../src/streamer/commands/doctor/finding.ts';
import { startPostgres } from '../../src/embedded/postgres.ts';
import { migratePostgres } from '../../src/streamer/commands/migrate-postgres.ts';
import { Retention } from '../../src/streamer/retention/retention.ts';
import { holderOfLock } from '../../src/streamer/source/advisory-lock.ts';
import { Database } from '../../src/streamer/source/database.ts';
import { createSlotAndSnapshot, snapshotText } from '../../src/streamer/source/new-slot.ts';
import { command } from '../support/command.ts';
import { examine } from '../support/doctor.ts';
import { Outbox } from '../support/outbox.ts';
import { configOf } from '../support/retention.ts';
import { eventually } from '../support/wait.ts';

const QUICK = { OUTBOX_INSERT_TIMEOUT_MS: '1000' };

async function drop(outbox: Outbox): Promise<void> {
  await outbox.postgres.query(
    `SELECT pg_drop_replication_slot('${outbox.slot}'); DELETE FROM outbox.stream WHERE slot_name = '${outbox.slot}'`,
  );
}

/** A transaction with an id, which a slot that is being made waits for. */
async function openTransaction(outbox: Outbox): Promise<Client> {
  const client = new Client({ connectionString: outbox.databaseUrl, application_name: 'nightly report' });
  await client.connect();
  await client.query('BEGIN; SELECT pg_current_xact_id()');
  return client;
}

test.concurrent('`migrate` adopts a slot that is older than the publication, and the streamer delivers what comes after', async () => {
  await using outbox = await Outbox.create();
  await drop(outbox);
  await outbox.postgres.query('DROP PUBLICATION outbox');
  await outbox.postgres.query(`SELECT pg_create_logical_replication_slot('${outbox.slot}', 'pgoutput')`);
  await outbox.postgres.query('CREATE TABLE other (n int)');
  await outbox.postgres.query('INSERT INTO other VALUES (1)');
  await outbox.fill(3);
  const said: string[] = [];
  await migratePostgres(outbox.databaseUrl, outbox.slot, (line) => said.push(line));
  expect(said).toContainEqual(expect.stringContaining('older than the publication'));
  expect(said).toContainEqual(expect.stringContaining('`pg-outbox-clickhouse repair` sends them'));
  const streamer = outbox.stream(QUICK);
  await outbox.fill(5);
  await outbox.untilDelivered(5);
  expect(await command(outbox, ['repair', '--json'], QUICK).done).toMatchObject({ code: 0 });
  await outbox.untilDelivered(8);
  expect(await outbox.delivered()).toEqual({ rows: 8, events: 8 });
  expect(await streamer.stop()).toBe(0);
});

test.concurrent('`migrate` says for whom it waits, and one that was killed is followed by one that goes on', async () => {
  // every slot of a server waits for the transaction
  await using postgres = await startPostgres();
  await using outbox = await Outbox.create({ postgresUrl: postgres.url });
  await drop(outbox);
  // what is set for applications is not for whoever has to wait
  await outbox.postgres.query(
    `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET lock_timeout = ''100ms''', current_database()); END $$`,
  );
  const holder = await openTransaction(outbox);
  const killed = command(outbox, ['migrate']);
  const heard = new Promise<string>((resolve) => killed.lines((line) => line.includes('waits for') && resolve(line)));
  expect(await heard).toMatch(
    /waits for process \d+ \(role "\w+", application "nightly report"\), whose transaction began at/,
  );
  killed.kill();
  const second = command(outbox, ['migrate']);
  const again = new Promise<string>((resolve) => second.lines((line) => line.includes('waits for') && resolve(line)));
  expect(await again).toContain('nightly report');
  await holder.query('COMMIT');
  await holder.end();
  expect((await second.done).code).toBe(0);
  const streamer = outbox.stream();
  await outbox.fill(5);
  await outbox.untilDelivered(5);
  expect(await streamer.stop()).toBe(0);
});

/** Ids of transactions that came to nothing: what a snapshot has to list one by one. */
const ABORTED = `DO $$ BEGIN
  FOR i IN 1..1000 LOOP
    BEGIN
      INSERT INTO public.t VALUES (i);
      RAISE EXCEPTION 'undone';
    EXCEPTION WHEN raise_exception THEN NULL;
    END;
  END LOOP;
END $$`;

test.concurrent('a slot whose snapshot would be too large is made when fewer transactions run', async () => {
  await using postgres = await startPostgres();
  const open = async (): Promise<Client> => {
    const client = new Client({ connectionString: postgres.url });
    await client.connect();
    await client.query('BEGIN; SELECT pg_current_xact_id()');
    return client;
  };
  const end = async (client: Client): Promise<void> => {
    await client.query('COMMIT');
    await client.end();
  };
  const db = await Database.connect(postgres.url, {}, () => undefined);
  await db.query('CREATE TABLE public.t (n int)');
  const said: string[] = [];
  const waits = async (count: number): Promise<unknown> =>
    eventually(`it has waited for ${count}`, () => said.filter((line) => line.startsWith('process')).length >= count);
  // the server waits for those that run when it begins, then for those that ran meanwhile
  const first = await open();
  const making = createSlotAndSnapshot(postgres.url, 'late', {
    failover: false,
    db,
    onWait: (line) => said.push(line),
  });
  await waits(1);
  const next = await open();
  await end(first);
  await waits(2);
  const oldest = await open();
  await db.query(ABORTED);
  await db.query('INSERT INTO public.t VALUES (0)');
  await end(next);
  await eventually('it is refused', () => said.find((line) => line.includes('too large')));
  await end(oldest);
  const made = await making;
  expect(await snapshotText(postgres.url, made.snapshot)).toMatch(/^\d+:\d+:/);
  await made.close();
  await db.close();
});

test.concurrent('`migrate` names a prepared transaction for which it waits', async () => {
  await using postgres = await startPostgres({ settings: { max_prepared_transactions: 5 } });
  await migratePostgres(postgres.url, 'outbox', () => undefined);
  const client = new Client({ connectionString: postgres.url });
  await client.connect();
  await client.query("BEGIN; CREATE TABLE t (n int); PREPARE TRANSACTION 'forgotten'");
  const said: string[] = [];
  const migrating = migratePostgres(postgres.url, 'second', (line) => said.push(line));
  await eventually('it says so', () => said.find((line) => line.includes('prepared transaction "forgotten"')));
  await client.query("ROLLBACK PREPARED 'forgotten'");
  await migrating;
  expect(said).toContain('Postgres: made the slot "second"');

  // one may hold the lock, too, and no process does
  await client.query("BEGIN; SELECT pg_advisory_xact_lock(7); PREPARE TRANSACTION 'of ''nobody'''");
  const db = await Database.connect(postgres.url, {}, () => undefined);
  expect(await holderOfLock(db, 7)).toMatchObject({
    what: expect.stringMatching(/^the prepared transaction "of 'nobody'" of role /),
    end: "ROLLBACK PREPARED 'of ''nobody'''",
    isOurs: false,
  });
  await client.query("ROLLBACK PREPARED 'of ''nobody'''");
  expect(await holderOfLock(db, 7)).toBeUndefined();
  await db.close();

  // default privileges reach what `migrate` makes
  await client.query(`CREATE ROLE app; CREATE ROLE watcher; GRANT SELECT ON outbox.stream TO watcher;
    GRANT INSERT, SELECT, TRUNCATE ON outbox.event, outbox.quarantine TO app; GRANT UPDATE ON outbox.stream TO PUBLIC;
    GRANT INSERT (event_type, bucket) ON outbox.event TO watcher`);
  const granted = async (): Promise<string[]> => {
    const lines: string[] = [];
    await migratePostgres(postgres.url, 'second', (line) => lines.push(line));
    return lines.flatMap((line) => /If it should not: (.*);/.exec(line)?.[1] ?? []);
  };
  const fixes = await granted();
  expect(fixes).toEqual([
    'REVOKE UPDATE ON outbox.stream FROM PUBLIC',
    'REVOKE INSERT, SELECT, TRUNCATE ON outbox.event, outbox.quarantine FROM app',
    'REVOKE INSERT (bucket) ON outbox.event FROM watcher',
  ]);
  await client.query(fixes.join('; '));
  expect(await granted()).toEqual([]);
  const roles = await readFile(new URL('../../migrations/postgres/roles.sql', import.meta.url), 'utf8');
  await client.query(roles);
  expect(await granted()).toEqual([]);
  await client.end();
});

test.concurrent('`migrate` brings back an outbox whose schema was dropped, and repairs the publication that was left', async () => {
  await using outbox = await Outbox.create();
  await outbox.postgres.query(`SELECT pg_drop_replication_slot('${outbox.slot}')`);
  await outbox.postgres.query('DROP SCHEMA outbox CASCADE');
  await migratePostgres(outbox.databaseUrl, outbox.slot, () => undefined);
  const streamer = outbox.stream();
  await outbox.fill(5);
  await outbox.untilDelivered(5);
  expect(await streamer.stop()).toBe(0);
});

test.concurrent('the streamer goes on when the publication gets another owner, while it runs and while it does not', async () => {
  await using outbox = await Outbox.create();
  const role = `owner_${outbox.slot}`;
  await outbox.postgres.query(`CREATE ROLE ${role} SUPERUSER`);
  const first = outbox.stream();
  await outbox.fill(1);
  await outbox.untilDelivered(1);
  await outbox.postgres.query(`ALTER PUBLICATION outbox OWNER TO ${role}`);
  await outbox.fill(1);
  await outbox.untilDelivered(2);
  expect(await first.stop()).toBe(0);
  await outbox.postgres.query(`REASSIGN OWNED BY ${role} TO CURRENT_USER`);
  const second = outbox.stream();
  await outbox.fill(1);
  await outbox.untilDelivered(3);
  for (const { logs } of [first, second])
    expect(logs.filter(({ err }) => err?.code === 'OUTBOX_PUBLICATION_CHANGED')).toEqual([]);
  await outbox.postgres.query("ALTER PUBLICATION outbox SET (publish = 'update')");
  await outbox.postgres.query("ALTER PUBLICATION outbox SET (publish = 'insert')");
  await second.failure('OUTBOX_PUBLICATION_CHANGED');
  expect(await second.stop()).toBe(0);
  await outbox.postgres.query(`DROP ROLE ${role}`);
});

test.concurrent('the streamer says that a pooler stands before Postgres', async () => {
  await using outbox = await Outbox.create();
  // as PgBouncer answers a startup that asks for replication, or for settings that it does not know
  const answer = Buffer.from('SFATAL\0VFATAL\0C08P01\0Munsupported startup parameter: replication\0\0');
  const error = Buffer.concat([Buffer.from('E'), Buffer.alloc(4), answer]);
  error.writeInt32BE(answer.length + 4, 1);
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.once('data', () => socket.end(error));
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const url = new URL(outbox.databaseUrl);
  url.host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  const { err } = await outbox.stream({ DATABASE_URL: url.href }).failure('OUTBOX_PG_POOLER');
  expect(err?.next).toContain('address and port of the server itself');
  server.close();
});

test.concurrent('`migrate` says who holds its lock, and retention reports one that is not its own', async () => {
  await using outbox = await Outbox.create();
  const holder = new Client({ connectionString: outbox.databaseUrl, application_name: 'somebody' });
  await holder.connect();
  await holder.query('SELECT pg_advisory_lock($1), pg_advisory_lock($2)', [0x6f7574626f78, 0x6f7574626f79]);
  const migrating = command(outbox, ['migrate']);
  const heard = new Promise<string>((resolve) => migrating.lines((line) => line.includes('waiting') && resolve(line)));
  expect(await heard).toMatch(
    /waiting for process \d+ \(role "\w+", application "somebody"\), which holds the lock of migrations/,
  );
  const retention = await command(outbox, ['retention']).done;
  expect(retention.code).toBe(1);
  expect(retention.stderr).toContain('OUTBOX_PG_LOCKED');
  expect(retention.stderr).toContain('application "somebody"');
  // a name that is not its own helps nobody
  const role = `nobody_${outbox.slot}`;
  await holder.query(`CREATE ROLE ${role} LOGIN PASSWORD 'p'`);
  const posing = new Client({
    connectionString: Object.assign(new URL(outbox.databaseUrl), { username: role, password: 'p' }).href,
    application_name: 'pg-outbox-clickhouse retention',
  });
  await posing.connect();
  await holder.query('SELECT pg_advisory_unlock($1)', [0x6f7574626f79]);
  await posing.query('SELECT pg_advisory_lock($1)', [0x6f7574626f79]);
  const held = new Retention(configOf(outbox)).run({ signal: new AbortController().signal });
  await expect(held).rejects.toMatchObject({
    code: 'OUTBOX_PG_LOCKED',
    problems: [expect.stringMatching(/^SELECT pg_terminate_backend\(\d+\)$/)],
  });
  const findings = await examine({
    DATABASE_URL: outbox.databaseUrl,
    CLICKHOUSE_URL: outbox.clickhouseUrl,
    OUTBOX_SLOT: outbox.slot,
  });
  expect(findings.find(({ id }) => id === 'postgres.retention_lock')?.found).toContain(role);
  await posing.end();
  await holder.query(`DROP ROLE ${role}`);
  await holder.end();
  expect((await migrating.done).code).toBe(0);
  expect((await command(outbox, ['retention']).done).code).toBe(0);
});

test.concurrent('`migrate` and `doctor` leave tables of others alone, and give no statement that would alter them', async () => {
  await using outbox = await Outbox.create({ migrated: false });
  const { postgres, clickhouse } = outbox;
  await clickhouse.command({
    query: 'CREATE TABLE events (id UInt64, ts DateTime, lsn String) ENGINE = MergeTree ORDER BY id',
  });
  const migrate = async (environment = {}): Promise<string> => {
    const { code, stderr } = await command(outbox, ['migrate'], environment).done;
    expect(code).toBe(1);
    return stderr;
  };
  const look = async (): Promise<Finding[]> =>
    examine({ DATABASE_URL: outbox.databaseUrl, CLICKHOUSE_URL: outbox.clickhouseUrl, OUTBOX_SLOT: outbox.slot });
  const schema = "SELECT FROM pg_class WHERE relnamespace = to_regnamespace('outbox') AND relkind = 'r'";
  expect(await migrate()).toContain('OUTBOX_CH_TABLE_FOREIGN');
  expect((await postgres.query("SELECT FROM pg_namespace WHERE nspname = 'outbox'")).rowCount).toBe(0);

  await postgres.query('CREATE SCHEMA outbox; CREATE TABLE outbox.event (id bigserial, payload jsonb)');
  const own = { OUTBOX_CLICKHOUSE_TABLE: 'own_events' };
  expect(await migrate(own)).toContain('OUTBOX_PG_TABLE_FOREIGN');
  const findings = (await look()).filter(({ id }) => /\.(?:table|privileges|migrations|ttl|typed_context)$/.test(id));
  expect(findings.map(({ id, found, fix }) => [id, found.split(':')[0], fix])).toEqual([
    ['postgres.table', 'OUTBOX_PG_TABLE_FOREIGN', []],
    ['clickhouse.table', 'OUTBOX_CH_TABLE_FOREIGN', []],
  ]);
  expect((await postgres.query(schema)).rowCount).toBe(1);
  // of another name that the migration needs
  await postgres.query('ALTER TABLE outbox.event RENAME TO event_05');
  expect(await migrate(own)).toContain('OUTBOX_PG_TABLE_FOREIGN');
  expect((await postgres.query(schema)).rowCount).toBe(1);

  await postgres.query('ALTER SCHEMA outbox RENAME TO others');
  expect(await command(outbox, ['migrate'], own).done).toMatchObject({ code: 0 });
  expect(
    await outbox.select("SELECT name FROM system.columns WHERE database = currentDatabase() AND table = 'events'"),
  ).toHaveLength(3);
});
