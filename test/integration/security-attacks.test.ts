import { readFile } from 'node:fs/promises';
import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { Client } from 'pg';
import { describe, expect, test } from 'vitest';
import { emitEvent, emitEvents } from '../../src/app/index.ts';
import { untilDelivered } from '../../src/app/testing.ts';
import { migratePostgres } from '../../src/streamer/commands/migrate-postgres.ts';
import { command } from '../support/command.ts';
import { Outbox } from '../support/outbox.ts';
import { eventually } from '../support/wait.ts';

const ROLES = await readFile(new URL('../../migrations/postgres/roles.sql', import.meta.url), 'utf8');

/**
 * Plants a twin of each function and each binary operator of Postgres in the schema public, which raises an error, and some that fit
 * better than those of Postgres where types differ.
 */
const PLANT = `
DO $plant$
DECLARE
  f record;
  l text;
  r text;
  op text;
BEGIN
  PERFORM set_config('search_path', 'pg_catalog', true);
  FOR f IN SELECT proname, pg_get_function_identity_arguments(p.oid) AS args, prorettype::regtype AS gives
             FROM pg_proc p JOIN pg_type t ON t.oid = prorettype
            WHERE pronamespace = 'pg_catalog'::regnamespace AND prokind = 'f' AND NOT proretset AND t.typtype = 'b'
              AND NOT EXISTS (SELECT FROM unnest(proargtypes) a JOIN pg_type at ON at.oid = a WHERE at.typtype = 'p')
              AND coalesce(proargmodes, '{}') <@ '{i}' LOOP
    EXECUTE format('CREATE FUNCTION public.%I(%s) RETURNS %s LANGUAGE plpgsql AS $f$ BEGIN RAISE ''planted: %s''; END $f$',
                   f.proname, f.args, f.gives, replace(f.proname, '''', ''));
  END LOOP;
  FOREACH l IN ARRAY ARRAY['uuid[]', 'text[]', 'integer[]', 'timestamptz[]', 'oid[]'] LOOP
    EXECUTE format('CREATE FUNCTION public.unnest(%s) RETURNS SETOF text LANGUAGE plpgsql AS $f$ BEGIN RAISE ''planted: unnest''; END $f$', l);
  END LOOP;
  FOREACH l IN ARRAY ARRAY['text, text', 'text, text, text', 'text, text, integer', 'text, regclass', 'text, name', 'text, oid'] LOOP
    EXECUTE format('CREATE FUNCTION public.format(%s) RETURNS text LANGUAGE plpgsql AS $f$ BEGIN RAISE ''planted: format''; END $f$', l);
    EXECUTE format('CREATE FUNCTION public.concat_ws(%s) RETURNS text LANGUAGE plpgsql AS $f$ BEGIN RAISE ''planted: concat_ws''; END $f$', l);
  END LOOP;
  CREATE FUNCTION public.mod(numeric, bigint) RETURNS numeric LANGUAGE plpgsql AS $f$ BEGIN RAISE 'planted: mod'; END $f$;
  CREATE FUNCTION public.quote_ident(name) RETURNS text LANGUAGE plpgsql AS $f$ BEGIN RAISE 'planted: quote_ident'; END $f$;
  FOREACH l IN ARRAY ARRAY['int2', 'int4', 'int8', 'numeric', 'text', 'name', 'pg_lsn', 'oid', 'float8', 'timestamptz', 'bool'] LOOP
    FOREACH r IN ARRAY ARRAY['int2', 'int4', 'int8', 'numeric', 'text', 'name', 'pg_lsn', 'oid', 'float8', 'interval', 'bool'] LOOP
      EXECUTE format('CREATE FUNCTION public.planted(%s, %s) RETURNS bool LANGUAGE plpgsql AS $f$ BEGIN RAISE ''planted: operator''; END $f$', l, r);
      FOREACH op IN ARRAY ARRAY['=', '<>', '<', '>', '<=', '>=', '+', '-', '*', '/', '%', '||', '#', '~', '~~'] LOOP
        EXECUTE format('CREATE OPERATOR public.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = public.planted)', op, l, r);
      END LOOP;
    END LOOP;
  END LOOP;
  CREATE FUNCTION public.planted() RETURNS bool LANGUAGE plpgsql AS $f$ BEGIN RAISE 'planted: domain'; END $f$;
  FOREACH l IN ARRAY ARRAY['uuid', 'text', 'json', 'timestamptz', 'pg_lsn', 'int8', 'int4', 'float8', 'regclass'] LOOP
    EXECUTE format('CREATE DOMAIN public.%I AS pg_catalog.%I CHECK (public.planted())', l, l);
  END LOOP;
  CREATE DOMAIN public.record AS pg_catalog.text CHECK (public.planted());
END $plant$`;

describe('search_path (CVE-2018-1058)', () => {
  test('nothing of ours calls a twin of Postgres’ functions and operators that somebody has planted before them', async () => {
    await using outbox = await Outbox.create({ migrated: false });
    const { slot, databaseUrl, postgres } = outbox;
    await postgres.query(PLANT);
    await postgres.query(`ALTER DATABASE ${slot} SET search_path = public, pg_catalog`);
    const connect = async (): Promise<Client> => {
      const client = new Client({ connectionString: databaseUrl });
      await client.connect();
      return client;
    };
    const client = await connect();
    client.on('error', () => undefined);
    await expect(client.query("SELECT lower('A')")).rejects.toThrow('planted: lower');
    await expect(client.query('SELECT 1::numeric = 1')).rejects.toThrow('planted: operator');
    await expect(client.query("SELECT 'x'::text")).rejects.toThrow('planted: domain');

    await outbox.migrate();
    await client.query(ROLES);
    const streamer = outbox.stream();
    await client.query('BEGIN');
    await emitEvent(client, { type: 'test.one', context: { n: 1 } });
    await emitEvents(client, [
      { type: 'test.many', context: { n: 2 } },
      { type: 'test.many', context: { n: 3 } },
    ]);
    await client.query("SELECT outbox.emit('test.sql', '{}'::json)");
    await client.query('COMMIT');
    await outbox.untilDelivered(4);
    await untilDelivered(client);
    await client.end();
    for (const args of [
      ['status', '--json'],
      ['doctor', '--json'],
      ['verify', '--wait', '20s', '--json'],
      ['quarantine', 'list', '--json'],
      ['retention', '--dry-run', '--json'],
      ['repair', '--json'],
      ['migrate', '--json'],
    ]) {
      const { code, stdout, stderr } = await command(outbox, args, { OUTBOX_INSERT_TIMEOUT_MS: '1000' }).done;
      expect(stdout + stderr).not.toContain('planted');
      // doctor has its own things to say of a server made for tests
      expect({ args, code: args[0] === 'doctor' ? 0 : code, stderr }).toMatchObject({ code: 0 });
    }
    expect(await streamer.stop()).toBe(0);
    expect(streamer.output).not.toContain('planted');
    expect(streamer.logs.filter(({ level }) => level === 'error')).toEqual([]);
  }, 180_000);
});

describe('`migrate` refuses a schema that is not its own', () => {
  test.concurrent.for<[string, string, string]>([
    ['a schema of another role', 'CREATE SCHEMA outbox AUTHORIZATION $', 'ALTER SCHEMA outbox OWNER TO'],
    [
      'a schema in which all may create',
      'CREATE SCHEMA outbox; GRANT CREATE ON SCHEMA outbox TO PUBLIC',
      'REVOKE CREATE ON SCHEMA outbox FROM PUBLIC',
    ],
    [
      'a table of another role',
      'CREATE SCHEMA outbox; CREATE TABLE outbox.migration (n int); ALTER TABLE outbox.migration OWNER TO $',
      'ALTER TABLE outbox.migration OWNER TO',
    ],
    [
      'a trigger whose condition calls another role’s function',
      `CREATE SCHEMA outbox; CREATE TABLE outbox.migration (n int);
       CREATE FUNCTION public.spy() RETURNS bool LANGUAGE plpgsql AS 'BEGIN RETURN true; END'; ALTER FUNCTION public.spy OWNER TO $;
       CREATE TRIGGER quiet BEFORE UPDATE ON outbox.migration FOR EACH ROW WHEN (public.spy())
         EXECUTE FUNCTION suppress_redundant_updates_trigger()`,
      'DROP FUNCTION public.spy() CASCADE',
    ],
    [
      'a table on which another role may make triggers',
      'CREATE SCHEMA outbox; CREATE TABLE outbox.migration (n int); GRANT TRIGGER ON outbox.migration TO $',
      'REVOKE TRIGGER ON outbox.migration FROM',
    ],
    [
      'a trigger with another role’s function',
      `CREATE SCHEMA outbox; CREATE TABLE outbox.migration (n int);
       CREATE FUNCTION public.steal() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN ALTER ROLE $ SUPERUSER; RETURN NEW; END';
       ALTER FUNCTION public.steal OWNER TO $;
       CREATE TRIGGER steal BEFORE INSERT ON outbox.migration FOR EACH ROW EXECUTE FUNCTION public.steal()`,
      'DROP FUNCTION public.steal() CASCADE',
    ],
    ...[
      ['an index over another role’s function', 'CREATE INDEX ON outbox.migration (public.spy(hash))'],
      [
        'an index of the rows that another role’s function picks',
        'CREATE INDEX ON outbox.migration (n) WHERE public.spy(hash) IS NULL',
      ],
      [
        'a default that uses another role’s operator',
        'ALTER TABLE outbox.migration ADD COLUMN x text DEFAULT (OPERATOR(public.###) now()::text)',
      ],
      [
        'a constraint that uses another role’s operator',
        'ALTER TABLE outbox.migration ADD CHECK ((OPERATOR(public.###) hash) IS NOT NULL)',
      ],
      [
        'a column of a domain that calls another role’s function',
        'ALTER TABLE outbox.migration ADD COLUMN x public.spied',
      ],
      [
        'a policy that calls another role’s function',
        'CREATE POLICY p ON outbox.migration USING (public.spy(hash) IS NULL)',
      ],
    ].map(([what = '', trap = '']): [string, string, string] => [
      what,
      `CREATE SCHEMA outbox; CREATE TABLE outbox.migration (n int, hash text);
       CREATE FUNCTION public.spy(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN $1; END';
       CREATE OPERATOR public.### (RIGHTARG = text, FUNCTION = public.spy);
       CREATE DOMAIN public.spied AS text CHECK (public.spy(VALUE) IS NULL);
       ${trap}; ALTER FUNCTION public.spy OWNER TO $`,
      'DROP FUNCTION public.spy(pg_catalog.text) CASCADE',
    ]),
  ])('%s', async ([, prepare, fix]) => {
    await using outbox = await Outbox.create({ migrated: false });
    const role = `attacker_${outbox.slot}`;
    await outbox.postgres.query(`CREATE ROLE ${role}`);
    await outbox.postgres.query(prepare.replaceAll(/\$(?!1)/g, role));
    await expect(migratePostgres(outbox.databaseUrl, outbox.slot, () => undefined)).rejects.toMatchObject({
      code: 'OUTBOX_PG_OWNER',
      problems: expect.arrayContaining([expect.stringContaining(fix)]),
    });
    const { rows } = await outbox.postgres.query<{ rolsuper: boolean }>(
      'SELECT rolsuper FROM pg_roles WHERE rolname = $1',
      [role],
    );
    expect(rows).toEqual([{ rolsuper: false }]);
    await outbox.postgres.query(`DROP SCHEMA outbox CASCADE; DROP OWNED BY ${role} CASCADE; DROP ROLE ${role}`);
    await migratePostgres(outbox.databaseUrl, outbox.slot, () => undefined);
  });

  test.concurrent.for([
    [
      'the schema, and a trigger on what it would write',
      'CREATE SCHEMA',
      `CREATE SCHEMA outbox;
       CREATE TABLE outbox.migration (id serial PRIMARY KEY, hash text NOT NULL, created_at bigint, name text, applied_at timestamptz DEFAULT now());
       CREATE FUNCTION outbox.steal() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN ALTER ROLE $ SUPERUSER; RETURN NEW; END';
       CREATE TRIGGER steal BEFORE INSERT ON outbox.migration FOR EACH ROW EXECUTE FUNCTION outbox.steal()`,
    ],
    ['the publication', 'CREATE TABLE', 'CREATE PUBLICATION outbox'],
  ] as const)('from a role that makes it while `migrate` runs: %s', async ([, held, attack]) => {
    await using outbox = await Outbox.create({ migrated: false });
    const { slot: database, postgres } = outbox;
    const role = `racer_${database}`;
    await postgres.query(
      `CREATE ROLE ${role} LOGIN PASSWORD 'p'; GRANT CREATE ON DATABASE ${database} TO ${role};
       CREATE FUNCTION public.hold() RETURNS event_trigger LANGUAGE plpgsql AS
         $f$ BEGIN IF session_user <> '${role}' THEN PERFORM pg_advisory_xact_lock_shared(1); END IF; END $f$;
       CREATE EVENT TRIGGER hold ON ddl_command_start WHEN TAG IN ('${held}') EXECUTE FUNCTION public.hold()`,
    );
    // `migrate` stands still before its first statement of the kind, for as long as this has the lock
    const holder = await postgres.connect();
    await holder.query('SELECT pg_advisory_lock(1)');
    const migrating = migratePostgres(outbox.databaseUrl, database, () => undefined).catch((error: unknown) => error);
    await eventually('it stands still', async () => {
      const { rowCount } = await postgres.query(
        "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory'",
      );
      return rowCount === 1;
    });
    const racer = new Client({
      connectionString: Object.assign(new URL(outbox.databaseUrl), { username: role, password: 'p' }).href,
    });
    await racer.connect();
    await racer.query(attack.replaceAll('$', role));
    await racer.end();
    holder.release(true);
    expect(await migrating).toMatchObject({ code: 'OUTBOX_PG_OWNER' });
    const { rows } = await postgres.query('SELECT rolsuper FROM pg_roles WHERE rolname = $1', [role]);
    expect(rows).toEqual([{ rolsuper: false }]);
    await postgres.query(`DROP EVENT TRIGGER hold; DROP OWNED BY ${role} CASCADE; DROP ROLE ${role}`);
    await migratePostgres(outbox.databaseUrl, database, () => undefined);
  });

  test.concurrent('`doctor` names what another role owns or may create there', async () => {
    await using outbox = await Outbox.create();
    const role = `guest_${outbox.slot}`;
    await outbox.postgres.query(`CREATE ROLE ${role}; GRANT CREATE ON SCHEMA outbox TO ${role}`);
    const { stdout } = await command(outbox, ['doctor', '--json']).done;
    expect(stdout).toContain(`REVOKE CREATE ON SCHEMA outbox FROM ${role}`);
    await outbox.postgres.query(`DROP OWNED BY ${role}; DROP ROLE ${role}`);
  });
});

test.concurrent('roles.sql grants nothing to a role of its names that another role has made and may grant to itself', async () => {
  await using outbox = await Outbox.create();
  const { slot, postgres } = outbox;
  // roles belong to the whole server, which other tests use
  const [streamer, producer, reader, creator] = ['streamer', 'producer', 'reader', 'creator'].map(
    (name) => `${name}_${slot}`,
  );
  const roles = ROLES.replaceAll('outbox_streamer', streamer!)
    .replaceAll('outbox_producer', producer!)
    .replaceAll('outbox_console', reader!);
  await postgres.query(`CREATE ROLE ${creator} LOGIN CREATEROLE PASSWORD 'p'`);
  const client = new Client({
    connectionString: Object.assign(new URL(outbox.databaseUrl), { username: creator, password: 'p' }).href,
  });
  await client.connect();
  await client.query(`CREATE ROLE ${streamer} LOGIN PASSWORD 'x'; GRANT ${streamer} TO ${creator}`);
  // what others lend it is none of what makes it the outbox's own
  await postgres.query('GRANT USAGE ON SCHEMA outbox TO PUBLIC');
  const hint = `DROP ROLE ${streamer}`;
  await expect(postgres.query(roles)).rejects.toMatchObject({ code: 'P0001', hint: expect.stringContaining(hint) });
  await expect(client.query('SELECT FROM outbox.event')).rejects.toMatchObject({ code: '42501' });
  await postgres.query(`REVOKE USAGE ON SCHEMA outbox FROM PUBLIC; DROP OWNED BY ${streamer}; ${hint}`);
  await postgres.query(roles);
  await expect(client.query('SELECT FROM outbox.event')).rejects.toMatchObject({ code: '42501' });
  await expect(client.query(`GRANT ${streamer} TO ${creator}`)).rejects.toMatchObject({ code: '42501' });
  await client.end();

  // once they are the outbox's own, somebody may have been let grant them: it is said
  const administrator = await postgres.connect();
  const said: (string | undefined)[] = [];
  administrator.on('notice', ({ message }) => said.push(message));
  await administrator.query(`GRANT ${producer} TO ${creator} WITH ADMIN OPTION; ALTER ROLE ${producer} LOGIN`);
  await administrator.query(roles);
  administrator.release(true);
  expect(said).toEqual([
    `${producer} may log in: who knows its password emits events`,
    `${creator} may grant ${producer} to anyone, itself too`,
  ]);
  await postgres.query(
    [producer, streamer, reader, creator].map((name) => `DROP OWNED BY ${name}; DROP ROLE ${name}`).join('; '),
  );
});

test.concurrent.for([
  ['who made its role', 'CREATEROLE', 'CREATE ROLE $streamer LOGIN', 'is not yours alone'],
  ['who could have code run as its role', '', '', 'could have code run as'],
  ['who owns the database', '', 'OWNER', undefined],
] as const)(
  'roles.sql hands REPLICATION to no owner of the schema %s, but for a warning',
  async ([, attribute, made, refusal]) => {
    await using outbox = await Outbox.create({ migrated: false });
    const { slot: database, postgres } = outbox;
    const [streamer, producer, owner] = ['streamer', 'producer', 'owner'].map((name) => `${name}_${database}`);
    const roles = ROLES.replaceAll('outbox_streamer', streamer!).replaceAll('outbox_producer', producer!);
    await postgres.query(`CREATE ROLE ${owner} LOGIN REPLICATION ${attribute} PASSWORD 'p'`);
    await postgres.query(
      made === 'OWNER'
        ? `ALTER DATABASE ${database} OWNER TO ${owner}`
        : `GRANT CREATE ON DATABASE ${database} TO ${owner}`,
    );
    const url = Object.assign(new URL(outbox.databaseUrl), { username: owner, password: 'p' }).href;
    await migratePostgres(url, database, () => undefined);
    await postgres.query(`ALTER ROLE ${owner} NOREPLICATION`);
    if (made.startsWith('CREATE')) {
      const client = new Client({ connectionString: url });
      await client.connect();
      await client.query(made.replace('$streamer', streamer!));
      await client.end();
    }
    const administrator = await postgres.connect();
    const said: (string | undefined)[] = [];
    administrator.on('notice', ({ message }) => said.push(message));
    const replicates = async (): Promise<boolean | undefined> => {
      const { rows } = await postgres.query<{ yes: boolean }>(
        'SELECT rolreplication AS yes FROM pg_roles WHERE rolname = $1',
        [streamer],
      );
      return rows[0]?.yes;
    };
    const outcome = await administrator.query(roles).then(() => 'done', String);
    expect(outcome).toContain(refusal ?? 'done');
    expect((await replicates()) === true).toBe(refusal === undefined);
    if (refusal !== undefined) {
      // a deliberate act of the administrator
      await postgres.query(
        `DROP ROLE IF EXISTS ${streamer}; CREATE ROLE ${streamer} LOGIN REPLICATION; GRANT ${streamer} TO ${owner} WITH ADMIN OPTION`,
      );
    }
    expect(said.map((line) => line?.split(',')[0])).toEqual(refusal === undefined ? [owner] : []);
    said.length = 0;
    await administrator.query(roles);
    expect(said).toEqual([]);
    expect(await replicates()).toBe(true);
    administrator.release(true);
    await postgres.query(
      `SELECT pg_drop_replication_slot('${database}'); ALTER DATABASE ${database} OWNER TO CURRENT_USER`,
    );
    await postgres.query(
      [producer, streamer, owner].map((name) => `DROP OWNED BY ${name} CASCADE; DROP ROLE ${name}`).join('; '),
    );
  },
);

describe('a producer', () => {
  test.concurrent('cannot write what would stop the others: events that are too large, or no objects', async () => {
    await using outbox = await Outbox.create();
    const streamer = outbox.stream();
    const refused = { code: '23514' };
    for (const [type, context] of [
      ["repeat('t', 65536)", "'{}'"],
      ["''", "'{}'"],
      ["'test'", "'[]'"],
      ["'test'", "('\"' || repeat('b', 70000000) || '\"')::json"],
      ["'test'", "('{\"a\":\"' || repeat('b', 70000000) || '\"}')::json"],
    ]) {
      await expect(
        outbox.postgres.query(`INSERT INTO outbox.event (event_type, event_context) VALUES (${type}, ${context})`),
      ).rejects.toMatchObject(refused);
    }
    await expect(
      outbox.postgres.query("SELECT outbox.emit('test', ('{\"a\":\"' || repeat('b', 70000000) || '\"}')::json)"),
    ).rejects.toMatchObject(refused);
    await outbox.fill(10);
    await outbox.untilDelivered(10);
    expect(await streamer.stop()).toBe(0);
  });

  test.concurrent('may write neither the server’s columns nor messages into WAL', async () => {
    await using outbox = await Outbox.create();
    await outbox.postgres.query(ROLES);
    const role = `app_${outbox.slot}`;
    await outbox.postgres.query(`CREATE ROLE ${role} LOGIN PASSWORD 'p'; GRANT outbox_producer TO ${role}`);
    const client = new Client({
      connectionString: Object.assign(new URL(outbox.databaseUrl), { username: role, password: 'p' }).href,
    });
    await client.connect();
    const denied = { code: '42501' };
    await expect(
      client.query("INSERT INTO outbox.event (event_type, event_context, recorded_at) VALUES ('t', '{}', 'infinity')"),
    ).rejects.toMatchObject(denied);
    await expect(
      client.query("INSERT INTO outbox.event (event_type, event_context, bucket) VALUES ('t', '{}', 7)"),
    ).rejects.toMatchObject(denied);
    await expect(
      client.query("INSERT INTO outbox.event (event_type, event_context, recorded_by) VALUES ('t', '{}', 'another')"),
    ).rejects.toMatchObject(denied);
    await expect(client.query("SELECT pg_logical_emit_message(false, 'x', 'y')")).rejects.toMatchObject(denied);
    await client.query('BEGIN');
    await emitEvents(client, [
      { type: 'test.app', context: {} },
      { type: 'test.app', context: {} },
    ]);
    await client.query("SET ROLE outbox_producer; SELECT outbox.emit('test.app', '{}'::json)");
    await client.query('COMMIT');
    await client.end();
    const streamer = outbox.stream();
    await outbox.untilDelivered(3);
    expect(await streamer.stop()).toBe(0);
    expect(await outbox.select('SELECT recorded_by, toInt32(count()) AS events FROM events GROUP BY 1')).toEqual([
      { recorded_by: role, events: 3 },
    ]);
    await outbox.postgres.query(`DROP OWNED BY ${role}; DROP ROLE ${role}`);
  });
});

test.concurrent('the log does not repeat what a trigger raises, whatever SQLSTATE it gives', async () => {
  await using outbox = await Outbox.create();
  const raise = async (sqlState: string): Promise<void> => {
    await outbox.postgres.query(
      `CREATE OR REPLACE FUNCTION public.talk() RETURNS trigger LANGUAGE plpgsql AS
         $f$ BEGIN RAISE EXCEPTION 'canary-%', NEW.slot_name USING ERRCODE = '${sqlState}'; END $f$`,
    );
  };
  await raise('P0001');
  await outbox.postgres.query(
    'CREATE TRIGGER talk BEFORE UPDATE ON outbox.stream FOR EACH ROW EXECUTE FUNCTION public.talk()',
  );
  const streamer = outbox.stream();
  await streamer.log(({ err }) => err?.['sqlState' as 'code'] === 'P0001');
  await raise('55000');
  await streamer.log(({ err }) => err?.['sqlState' as 'code'] === '55000');
  await outbox.postgres.query('DROP TRIGGER talk ON outbox.stream');
  await outbox.fill(1);
  await outbox.untilDelivered(1);
  expect(streamer.output).not.toContain('canary');
  await eventually('it is settled', async () => (await outbox.ledger())['pending_token'] === null);
  expect(await streamer.stop()).toBe(0);
});

describe('a server that has not shown who it is', () => {
  const message = (type: string, body: Buffer): Buffer => {
    const head = Buffer.alloc(5);
    head.write(type, 0, 'latin1');
    head.writeInt32BE(body.length + 4, 1);
    return Buffer.concat([head, body]);
  };
  const ASKS: readonly (readonly [string, Buffer, string])[] = [
    ['in clear text', Buffer.from([0, 0, 0, 3]), ''],
    ['as an MD5 hash', Buffer.from([0, 0, 0, 5, 1, 2, 3, 4]), ''],
    [
      'in clear text, where a bound login is required',
      Buffer.from([0, 0, 0, 3]),
      '?sslmode=disable&channel_binding=require',
    ],
    [
      'without the channel binding that is required',
      Buffer.concat([Buffer.from([0, 0, 0, 10]), Buffer.from('SCRAM-SHA-256\0\0')]),
      '?channel_binding=require',
    ],
  ];

  test.concurrent.for(ASKS)('gets no password %s', async ([how, body, query]) => {
    await using outbox = await Outbox.create();
    const heard: string[] = [];
    const server = createServer((socket) => {
      socket.on('error', () => undefined);
      socket.on('data', (chunk: Buffer) => heard.push(chunk.toString('latin1')));
      socket.once('data', () => socket.write(message('R', body)));
    });
    await once(server.listen(0, '0.0.0.0'), 'listening');
    const { port } = server.address() as AddressInfo;
    // this host by a name that does not say so
    const streamer = outbox.stream({ DATABASE_URL: `postgres://someone:canary@0.0.0.0:${port}/app${query}` });
    const { err } = await streamer.failure('OUTBOX_PG_AUTH');
    expect(err?.message).toContain(how.startsWith('without') ? 'channel binding' : how.split(',')[0]);
    expect(heard.length).toBeGreaterThan(0);
    for (const said of heard) {
      expect(said).not.toContain('canary');
      // a password's message
      expect(said.startsWith('p')).toBe(false);
    }
    await streamer.kill();
    server.close();
  });
});
