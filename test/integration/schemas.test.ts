import { readFile } from 'node:fs/promises';
import { drizzle } from 'drizzle-orm/node-postgres';
import { expect, test } from 'vitest';
import { createOutbox } from '../../src/app/index.ts';
import { outboxTables } from '../../src/app/schema.ts';
import { emittedEvents, untilDelivered } from '../../src/app/testing.ts';
import { examinePostgres } from '../../src/streamer/commands/doctor/postgres.ts';
import { migrateClickHouse } from '../../src/streamer/commands/migrate-clickhouse.ts';
import { migratePostgres } from '../../src/streamer/commands/migrate-postgres.ts';
import { MIGRATION_LOCK } from '../../src/streamer/source/advisory-lock.ts';
import { reshard } from '../../src/streamer/commands/reshard.ts';
import { verify, type VerifyOptions } from '../../src/streamer/commands/verify.ts';
import { ALL } from '../../src/streamer/compare/window.ts';
import { type Config, readConfig } from '../../src/streamer/config.ts';
import { Eraser } from '../../src/streamer/erase/erase.ts';
import { glanceAtQuarantine } from '../../src/streamer/ledger/quarantine.ts';
import { repair } from '../../src/streamer/repair/repair.ts';
import { listLeaves } from '../../src/streamer/retention/leaves.ts';
import { Retention } from '../../src/streamer/retention/retention.ts';
import { Database } from '../../src/streamer/source/database.ts';
import { command } from '../support/command.ts';
import { Outbox } from '../support/outbox.ts';
import { OFF, ROW, VALUES } from '../support/retention.ts';
import { eventually } from '../support/wait.ts';

const VERIFY: VerifyOptions = { window: ALL, waitMs: 60_000, limit: 5 };
const REPAIR = { dryRun: false, newSlot: false, sendAgain: false, moved: false, window: ALL };
const QUICK = { OUTBOX_INSERT_TIMEOUT_MS: '1000', ...OFF };
const ROLES = await readFile(new URL('../../migrations/postgres/roles.sql', import.meta.url), 'utf8');
const quiet = (): void => undefined;

/** The settings of another outbox in the same database. Its name is unique, because slots and roles belong to the whole server. */
function otherOf(outbox: Outbox): { schema: string; env: Record<string, string>; config: Config } {
  const schema = outbox.slot.replace('t_', 'b_');
  const env = { ...QUICK, OUTBOX_SCHEMA: schema, OUTBOX_SLOT: '' };
  const urls = { DATABASE_URL: outbox.databaseUrl, CLICKHOUSE_URL: outbox.clickhouseUrl };
  return { schema, env, config: readConfig({ ...urls, ...env }) };
}

function configOf({ databaseUrl, clickhouseUrl, slot }: Outbox): Config {
  return readConfig({ DATABASE_URL: databaseUrl, CLICKHOUSE_URL: clickhouseUrl, OUTBOX_SLOT: slot, ...QUICK });
}

/** All that belongs to an outbox, and that work on another one must leave as it is. */
async function stateOf(outbox: Outbox, schema: string): Promise<unknown[]> {
  const { rows } = await outbox.postgres.query(
    `SELECT (SELECT array_agg(to_jsonb(l) - '{refused,refused_at,acked_lsn}'::text[] ORDER BY slot_name) FROM ${schema}.stream l) AS ledger,
            (SELECT count(*)::int FROM ${schema}.event) AS events, (SELECT count(*)::int FROM ${schema}.quarantine) AS quarantined,
            (SELECT array_agg(slot_name::text ORDER BY slot_name) FROM pg_replication_slots JOIN ${schema}.stream USING (slot_name)) AS slots,
            (SELECT array_agg(pubname || p.oid || p.xmin ORDER BY pubname) FROM pg_publication p
               JOIN pg_publication_rel ON prpubid = p.oid WHERE prrelid = '${schema}.event'::regclass) AS publications`,
  );
  return rows;
}

async function dropSlots(outbox: Outbox, schema: string): Promise<void> {
  await eventually('the slots are free', async () => {
    const { rowCount } = await outbox.postgres.query(
      'SELECT FROM pg_replication_slots WHERE starts_with(slot_name, $1) AND active',
      [schema],
    );
    return rowCount === 0;
  });
  await outbox.postgres.query(
    'SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE starts_with(slot_name, $1)',
    [schema],
  );
}

async function databaseOf(config: Config): Promise<AsyncDisposable & { readonly db: Database }> {
  const db = await Database.connect(config, {}, quiet);
  return { db, [Symbol.asyncDispose]: async () => db.close() };
}

/** What is wrong, but that no streamer runs. */
const faultsOf = async (config: Config): Promise<string[]> =>
  (await examinePostgres(config))
    .filter(({ id, level }) => level === 'error' && id !== 'postgres.streamer')
    .map(({ id, found }) => `${id}: ${found}`);

test.concurrent('two outboxes of one database fill one table, and what is done to one leaves the other as it is', async () => {
  await using outbox = await Outbox.create();
  const { schema, env, config } = otherOf(outbox);
  const client = await outbox.postgres.connect();
  try {
    // no lock of the one is the other's
    await client.query('SELECT pg_advisory_lock($1)', [MIGRATION_LOCK]);
    const before = await stateOf(outbox, 'outbox');
    const lines: string[] = [];
    await migratePostgres(config, config.slot, (line) => lines.push(line));
    // tests beside this one have transactions too
    expect(lines.filter((line) => !line.includes('waits for'))).toEqual([
      `Postgres: made the schema ${schema}`,
      `Postgres: made the publication "${schema}"`,
      `Postgres: made the slot "${schema}"`,
      `Postgres: made the ledger row of "${schema}"`,
    ]);
    expect(await stateOf(outbox, 'outbox')).toEqual(before);
    await client.query('SELECT pg_advisory_unlock($1)', [MIGRATION_LOCK]);
    const { rows } = await client.query<{ name: string }>(`SELECT pubname AS name FROM pg_publication ORDER BY 1`);
    expect(rows.map(({ name }) => name)).toEqual([schema, 'outbox'].toSorted());

    for (const [home, count] of [
      ['outbox', 10],
      [schema, 20],
    ] as const)
      await client.query(`INSERT INTO ${home}.event ${ROW} ${VALUES}`, ['old', 3, count]);
    // the library and SQL, in one transaction
    const { emitEvent, emitEvents } = createOutbox({ schema });
    await client.query('BEGIN');
    await emitEvent(client, { type: 'one', context: {} });
    await emitEvents(client, [
      { type: 'two', context: {} },
      { type: 'three', context: {} },
    ]);
    await client.query(`SELECT ${schema}.emit('four', '{}')`);
    await createOutbox().emitEvent(client, { type: 'first', context: {} });
    expect((await emittedEvents(client, { schema })).map(({ type }) => type)).toEqual(['one', 'two', 'three', 'four']);
    expect((await emittedEvents(client)).map(({ type }) => type)).toEqual(['first']);
    await client.query('COMMIT');
    const { event } = outboxTables(schema);
    expect(await drizzle({ client }).select({ type: event.event_type }).from(event)).toHaveLength(24);
  } finally {
    client.release();
  }

  const [streamer, other] = [outbox.stream(QUICK), outbox.stream(env)];
  await Promise.all([
    untilDelivered(outbox.postgres, { timeoutMs: 60_000 }),
    untilDelivered(outbox.postgres, { schema, timeoutMs: 60_000 }),
  ]);
  const sources = "SELECT splitByChar('/', source)[2] AS slot, count() AS n FROM events GROUP BY 1 ORDER BY n";
  expect(await outbox.select(sources)).toEqual([
    { slot: outbox.slot, n: 11 },
    { slot: schema, n: 24 },
  ]);
  const both = [configOf(outbox), config];
  expect(await Promise.all(both.map(async (each) => verify(each, VERIFY)))).toMatchObject([
    { identical: true, postgres: 11, clickhouse: 11 },
    { identical: true, postgres: 24, clickhouse: 24 },
  ]);
  for (const found of await Promise.all(both.map(examinePostgres))) {
    expect(found.filter(({ level }) => level === 'error')).toEqual([]);
    expect(found.find(({ id }) => id === 'postgres.streamer')?.found).toMatch(/^attached .* 0 standing by$/);
  }
  const signal = AbortSignal.timeout(60_000);
  const { removed, kept } = await new Retention({ ...config, retentionDays: 1 }).run({ signal });
  expect(kept).toBeUndefined();
  expect(removed).toEqual([expect.objectContaining({ table: expect.stringMatching(`^${schema}.event_`), rows: 20 })]);
  // both have events of the first type, and of the other outbox's none is erased
  const filter = { subjects: [], ids: [], types: ['old', 'two'], environments: [] };
  const eraser = await Eraser.open(config, { filter, sources: [], waitMs: 60_000, insertLivesMs: 0 });
  expect(await eraser.count()).toMatchObject({ outbox: 1, clickhouse: 21, ofOthers: 10 });
  expect(await eraser.erase('a test', quiet)).toMatchObject({ outbox: 1, events: 21 });
  await eraser[Symbol.asyncDispose]();
  expect(await Promise.all([streamer.stop(), other.stop()])).toEqual([0, 0]);

  const before = await stateOf(outbox, 'outbox');
  expect(before).toEqual([expect.objectContaining({ events: 11, slots: [outbox.slot] })]);
  expect(await command(outbox, ['detach'], env).done).toMatchObject({ code: 0 });
  await outbox.postgres.query(`INSERT INTO ${schema}.event (event_type, event_context) VALUES ('late', '{}')`);
  expect(await repair(config, REPAIR)).toMatchObject({ sent: 1, extra: 0, double: 0 });
  const last = outbox.stream(env);
  expect(await outbox.select(sources)).toEqual([
    { slot: schema, n: 4 },
    { slot: outbox.slot, n: 11 },
  ]);
  await reshard(config, { outbox: schema, count: 2, isFailover: false }, 60_000, quiet);
  const { rows: publications } = await outbox.postgres.query('SELECT pubname FROM pg_publication ORDER BY 1');
  const names = ['outbox', schema, `${schema}_1_of_2`, `${schema}_2_of_2`];
  expect(publications.map(({ pubname }: { pubname: string }) => pubname)).toEqual(names.toSorted());
  expect(await stateOf(outbox, 'outbox')).toEqual(before);
  await last.kill();
  await dropSlots(outbox, schema);
}, 180_000);

test.concurrent('two outboxes of one database fill a table each, with roles of their own that see nothing of the other', async () => {
  await using outbox = await Outbox.create();
  const { schema, env, config } = otherOf(outbox);
  await migratePostgres(config, config.slot, quiet);
  await migrateClickHouse(outbox.clickhouseUrl, { table: 'others', cluster: '' }, quiet);
  await outbox.postgres.query(`SET outbox.schema = '${schema}'; ${ROLES}; ALTER ROLE ${schema}_streamer PASSWORD 'p'`);
  const DATABASE_URL = Object.assign(new URL(outbox.databaseUrl), {
    username: `${schema}_streamer`,
    password: 'p',
  }).href;
  const mine = { ...env, DATABASE_URL, OUTBOX_CLICKHOUSE_TABLE: 'others' };
  try {
    const { rows } = await outbox.postgres.query(
      `SELECT has_column_privilege($1 || '_producer', $1 || '.event', 'event_type', 'INSERT') AS own,
              has_schema_privilege($1 || '_producer', 'outbox', 'USAGE') OR has_schema_privilege($1 || '_streamer', 'outbox', 'USAGE') AS other`,
      [schema],
    );
    expect(rows).toEqual([{ own: true, other: false }]);
    const [streamer, other] = [outbox.stream(OFF), outbox.stream(mine)];
    await outbox.fill(10);
    await outbox.postgres.query(`SELECT ${schema}.emit('other', '{}') FROM generate_series(1, 5)`);
    await outbox.untilDelivered(10);
    await untilDelivered(outbox.postgres, { schema, timeoutMs: 60_000 });
    expect(await outbox.select('SELECT event_type AS type, count() AS n FROM others GROUP BY 1')).toEqual([
      { type: 'other', n: 5 },
    ]);
    expect(await outbox.delivered()).toEqual({ rows: 10, events: 10 });
    const examined = readConfig({ CLICKHOUSE_URL: outbox.clickhouseUrl, ...mine, OUTBOX_RETENTION_DAYS: '1' });
    const found = await examinePostgres(examined);
    expect(found.filter(({ id }) => /privileges|migrations|retention|owners|streamer$/.test(id))).toEqual([
      expect.objectContaining({ id: 'postgres.privileges', level: 'ok' }),
      expect.objectContaining({ id: 'postgres.owners', level: 'ok', found: `the schema ${schema} has one owner` }),
      expect.objectContaining({ id: 'postgres.migrations', level: 'ok' }),
      expect.objectContaining({ id: 'postgres.retention', level: 'ok' }),
      expect.objectContaining({ id: 'postgres.streamer', level: 'ok' }),
    ]);
    expect(await Promise.all([streamer.stop(), other.stop()])).toEqual([0, 0]);

    // what is found, and what ends it, is of the schema that is asked for
    await outbox.postgres.query(
      `ALTER TABLE ${schema}.event ALTER COLUMN environment DROP NOT NULL; GRANT CREATE ON SCHEMA ${schema} TO PUBLIC`,
    );
    await outbox.postgres.query(`REVOKE SELECT ON ${schema}.quarantine FROM ${schema}_streamer`);
    const wrong = await examinePostgres(examined);
    const fixes = wrong
      .flatMap(({ level, fix }) => (level === 'error' ? fix : []))
      .filter((fix) => fix.in === 'postgres');
    expect(fixes.length).toBeGreaterThan(3);
    for (const { run } of fixes) await outbox.postgres.query(run);
    expect(fixes.map(({ run }) => run).join('\n')).not.toMatch(/(?<!_)outbox(?!_)/);
    expect(await faultsOf(configOf(outbox))).toEqual([]);
    expect(await faultsOf(examined)).toEqual([]);
  } finally {
    await dropSlots(outbox, schema);
    await outbox.postgres.query(
      `DROP OWNED BY ${schema}_producer, ${schema}_streamer; DROP ROLE ${schema}_producer, ${schema}_streamer`,
    );
  }
});

test.concurrent('`migrate` refuses a name that no outbox may have, and a slot that is another outbox’s', async () => {
  await using outbox = await Outbox.create();
  const before = await stateOf(outbox, 'outbox');
  const { schema, config } = otherOf(outbox);
  await expect(migratePostgres({ ...config, schema: 'order' }, config.slot, quiet)).rejects.toMatchObject({
    code: 'OUTBOX_CONFIG_INVALID',
    problems: ['OUTBOX_SCHEMA must not be a word of SQL: "order" is one'],
  });
  const taken = `the slot "${outbox.slot}" is that of the outbox in the schema "outbox"`;
  await expect(migratePostgres(config, outbox.slot, quiet)).rejects.toMatchObject({
    code: 'OUTBOX_SLOT_INVALID',
    message: expect.stringContaining(taken),
  });
  // nor a share of it, which a reshard of the other would drop
  await expect(migratePostgres(config, `${outbox.slot}_1_of_2`, quiet)).rejects.toThrow('is that of the outbox');
  expect(await stateOf(outbox, 'outbox')).toEqual(before);
  const { rows } = await outbox.postgres.query(
    "SELECT nspname FROM pg_namespace WHERE nspname = 'order' UNION ALL SELECT slot_name FROM pg_replication_slots WHERE starts_with(slot_name, $1)",
    [schema],
  );
  expect(rows).toEqual([]);
});

test.concurrent('names that hold the word are not taken for the default schema: a slot’s, a partition’s', async () => {
  await using outbox = await Outbox.create();
  const { schema, config } = otherOf(outbox);
  await migratePostgres(config, config.slot, quiet);
  await using own = await databaseOf(config);
  await outbox.postgres.query(
    `INSERT INTO ${schema}.quarantine (slot_name, source, lsn, seq, event_id, event_type, event_date_time, environment, event_context,
                                       metadata_version, subject, committed_at, trace_id, span_id, recorded_at, recorded_by, reason)
     VALUES ('outbox', '', '0/1', 1, gen_random_uuid(), 'type', now(), '', '{}', 1, '', now(), '', '', now(), '', '')`,
  );
  expect(await glanceAtQuarantine(own.db, 'outbox')).toBe(1);
  expect(await glanceAtQuarantine(own.db, schema)).toBe(0);

  // the bucket of the events, and the next one, which doctor reads
  await outbox.postgres.query(`INSERT INTO ${schema}.event ${ROW} ${VALUES}`, ['old', 3, 5]);
  const { rows } = await outbox.postgres.query<{ name: string }>(
    `SELECT tableoid::regclass::text AS name FROM ${schema}.event UNION
     SELECT format('${schema}.event_%s', lpad(((extract(epoch FROM now())::bigint / 86400 + 1) % 32)::text, 2, '0'))`,
  );
  for (const [index, { name }] of rows.entries())
    await outbox.postgres.query(`ALTER TABLE ${name} RENAME TO "an outbox ""of"" ${index}"`);
  const leaves = await listLeaves(own.db, Date.now());
  expect(leaves.filter(({ isExpired }) => isExpired).map(({ name }) => name)).toEqual([
    expect.stringMatching(new RegExp(`^${schema}\\."an outbox ""of"" \\d"$`)),
  ]);
  expect(await faultsOf(config)).toEqual([]);
  await dropSlots(outbox, schema);
});
