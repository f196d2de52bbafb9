import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startClickHouse, type EmbeddedClickHouse } from '../../src/embedded/clickhouse.ts';
import { startPostgres, type EmbeddedPostgres } from '../../src/embedded/postgres.ts';
import type { Finding } from '../../src/streamer/commands/doctor/finding.ts';
import { command } from '../support/command.ts';
import { apply, examine, findingOf } from '../support/doctor.ts';
import { Gateway } from '../support/gateway.ts';
import { Outbox } from '../support/outbox.ts';
import { eventually } from '../support/wait.ts';

const PASSWORD = 'least-of-all';
const DATABASE = 'examined';

const ROLES = (await readFile(new URL('../../migrations/clickhouse/roles.sql', import.meta.url), 'utf8'))
  .replaceAll(/^--.*\n/gm, '')
  .split(';')
  .map((statement) => statement.trim())
  .filter((statement) => statement !== '');

/** What roles.sql grants in the current database, as the configuration of a server without CREATE ROLE takes it. */
function grantsTo(role: string): string[] {
  return ROLES.flatMap((statement) => {
    const [, grant] = new RegExp(`^(GRANT .*) TO ${role}$`).exec(statement) ?? [];
    if (grant === undefined) return [];
    const [, inherited] = /^GRANT (outbox_\w+)$/.exec(grant) ?? [];
    return inherited === undefined ? [grant.replace(/ ON (events\w*|\*)$/, ` ON ${DATABASE}.$1`)] : grantsTo(inherited);
  });
}

let postgres: EmbeddedPostgres;
let clickhouse: EmbeddedClickHouse;
let outbox: Outbox;

beforeAll(async () => {
  [postgres, clickhouse] = await Promise.all([
    startPostgres({ settings: { max_slot_wal_keep_size: '1GB' } }),
    startClickHouse({
      users: [
        {
          user: 'least',
          password: PASSWORD,
          grants: grantsTo('outbox_streamer'),
        },
        { user: 'console', password: PASSWORD, grants: grantsTo('outbox_console') },
        { user: 'reader', password: PASSWORD, grants: grantsTo('outbox_reader') },
        { user: 'eraser', password: PASSWORD, grants: grantsTo('outbox_eraser') },
      ],
    }),
  ]);
  outbox = await Outbox.create({ postgresUrl: postgres.url, clickhouseUrl: clickhouse.url, database: DATABASE });
  await outbox.postgres.query(await readFile(new URL('../../migrations/postgres/roles.sql', import.meta.url), 'utf8'));
  await outbox.postgres.query(
    `ALTER ROLE outbox_streamer PASSWORD '${PASSWORD}'; CREATE ROLE shop LOGIN IN ROLE outbox_producer`,
  );
});

afterAll(async () => {
  await outbox?.[Symbol.asyncDispose]();
  await Promise.all([postgres?.dispose(), clickhouse?.dispose()]);
});

function loginTo(url: string, username: string): string {
  return Object.assign(new URL(url), { username, password: PASSWORD }).href;
}

/** What `doctor` finds with a streamer's least privileges, unless the test names others. */
async function look({ user = 'least', ...environment }: Record<string, string> = {}): Promise<Finding[]> {
  return examine({
    DATABASE_URL: loginTo(outbox.databaseUrl, 'outbox_streamer'),
    CLICKHOUSE_URL: loginTo(outbox.clickhouseUrl, user),
    OUTBOX_SLOT: outbox.slot,
    ...environment,
  });
}

test('`doctor` names what an empty outbox lacks before the first start, and its fix creates it', async () => {
  await using bare = await Outbox.create({ migrated: false });
  const { code, stdout } = await command(bare, ['doctor', '--json']).done;
  expect(code).toBe(1);
  const { findings, errors } = JSON.parse(stdout) as { findings: Finding[]; errors: number };
  const wrong = findings.filter(({ level }) => level === 'error');
  expect(wrong.map(({ id }) => id)).toEqual(['postgres.migrations', 'clickhouse.table']);
  expect(errors).toBe(2);
  for (const { fix } of wrong) expect(fix).toEqual([{ in: 'shell', run: 'pg-outbox-clickhouse migrate' }]);
  expect(await command(bare, ['migrate']).done).toMatchObject({ code: 0 });
  const again = await command(bare, ['doctor']).done;
  expect(again.code).toBe(0);
  expect(again.stdout).toMatch(
    /warning {2}postgres\.streamer {2}no streamer holds the slot\n {9}It was never started\./,
  );
  expect(again.stdout).toMatch(/0 errors, \d warnings?, \d+ in order\n$/);
  expect(again.stdout).not.toContain('\u001B');
});

test('`doctor` finds nothing wrong with a sound set-up under the least privileges', async () => {
  const streamer = outbox.stream();
  await outbox.fill(3);
  await outbox.untilDelivered(3);
  expect(await look()).toEqual([]);
  expect((await look({ user: 'console' })).map(({ found }) => found)).toEqual(['no INSERT on the table']);
  const { code, stdout } = await command(outbox, ['doctor', '--all'], {
    DATABASE_URL: loginTo(outbox.databaseUrl, 'outbox_streamer'),
    CLICKHOUSE_URL: loginTo(outbox.clickhouseUrl, 'least'),
  }).done;
  expect(code).toBe(0);
  expect(stdout).toMatch(/ok {6} postgres\.streamer {2}attached \(walsender \d+\), 0 standing by/);
  expect(stdout).toMatch(/^(ok|warning|error) +clickhouse\.disk {2}\d+ GB free/m);
  expect(stdout).not.toContain(PASSWORD);
  await streamer.stop();
  await using gateway = await Gateway.to(outbox.clickhouseUrl);
  await look({ CLICKHOUSE_URL: gateway.url, OUTBOX_INSERT_TIMEOUT_MS: '45000' });
  // an account may limit it, which refuses the streamer's inserts alike
  expect(gateway.limits).toEqual(new Set(['45']));
});

test('ClickHouse understands each statement of roles.sql, and has no other', async () => {
  for (const statement of ROLES) {
    await outbox.clickhouse.command({ query: `EXPLAIN AST ${statement}` });
    expect(statement).toMatch(
      /^(CREATE ROLE IF NOT EXISTS outbox_\w+|GRANT ([A-Z ]+ ON [\w.*]+|outbox_\w+) TO outbox_\w+)$/,
    );
  }
});

test('`doctor` says when no role but a superuser may emit', async () => {
  await outbox.postgres.query('REVOKE outbox_producer FROM shop');
  expect(findingOf(await look(), 'postgres.producers')).toMatchObject({
    level: 'warning',
    found: 'no role but a superuser may emit events',
    why: expect.stringContaining('GRANT outbox_producer TO my_app'),
    fix: [],
  });
  await outbox.postgres.query('GRANT outbox_producer TO shop');
  expect(findingOf(await look(), 'postgres.producers')).toBeUndefined();
});

test.for<readonly [id: string, statement: string]>([
  ['postgres.privileges', 'REVOKE USAGE ON SCHEMA outbox FROM outbox_streamer'],
  ['postgres.privileges', 'REVOKE UPDATE ON outbox.stream FROM outbox_streamer'],
  ['postgres.privileges', 'REVOKE DELETE ON outbox.quarantine FROM outbox_streamer'],
  ['postgres.migrations', 'REVOKE SELECT ON outbox.migration FROM outbox_streamer'],
  ['postgres.replication', 'ALTER ROLE outbox_streamer NOREPLICATION'],
  ['postgres.partitions', 'ALTER TABLE outbox.event DETACH PARTITION outbox.event_07'],
  ['postgres.partitions', 'DROP TABLE outbox.event_31'],
  ['postgres.retention', 'REVOKE TRUNCATE ON outbox.event_03 FROM outbox_streamer'],
  ['postgres.slot_wal_limit', 'ALTER SYSTEM SET max_slot_wal_keep_size = -1'],
  ['postgres.durability', 'ALTER SYSTEM SET full_page_writes = off'],
  ['postgres.durability', 'ALTER SYSTEM SET fsync = off'],
  ['postgres.idle_slot_timeout', "ALTER SYSTEM SET idle_replication_slot_timeout = '1h'"],
  ['postgres.synchronous_standbys', "ALTER SYSTEM SET synchronous_standby_names = '*'"],
])('`doctor` reports %s after %s, until its fix is applied', async ([id, statement]) => {
  await outbox.postgres.query(statement);
  await outbox.postgres.query('SELECT pg_reload_conf()');
  const finding = await eventually(id, async () => findingOf(await look(), id));
  expect(finding.why).not.toBe('');
  expect(finding.fix.length).toBeGreaterThan(0);
  for (const fix of finding.fix) if (fix.in === 'postgres') await apply(fix, outbox);
  await eventually(`${id} is gone`, async () => findingOf(await look(), id) === undefined);
});

test('`doctor` reports old events in the ring’s next bucket, until `retention` removes them', async () => {
  const streamer = outbox.stream({ OUTBOX_RETENTION_DAYS: '0' });
  await streamer.attached();
  await outbox.postgres.query(
    `INSERT INTO outbox.event (event_type, event_context, recorded_at, bucket)
     SELECT 'old', '{}', now() - interval '31 days', (extract(epoch FROM now())::bigint / 86400 + 1) % 32`,
  );
  const finding = findingOf(await look(), 'postgres.ring');
  expect(finding?.fix).toEqual([{ in: 'shell', run: 'pg-outbox-clickhouse retention' }]);
  await eventually('it is removed', async () => (await command(outbox, ['retention']).done).code === 0);
  expect(findingOf(await look(), 'postgres.ring')).toBeUndefined();
  await streamer.stop();
});

test.for<readonly [id: string, statement: string]>([
  ['clickhouse.table', 'ALTER TABLE events MODIFY SETTING non_replicated_deduplication_window = 10'],
  ['clickhouse.table', 'ALTER TABLE events MODIFY SETTING fsync_after_insert = 0'],
  ['clickhouse.table', 'ALTER TABLE events DROP COLUMN span_id'],
  ['clickhouse.table', 'ALTER TABLE events DROP COLUMN delivered_at'],
  ['clickhouse.typed_context', 'ALTER TABLE events DROP COLUMN event_context'],
  ['clickhouse.table', 'ALTER TABLE events MODIFY COLUMN event_context REMOVE DEFAULT'],
  ['clickhouse.table', "ALTER TABLE events MODIFY COLUMN delivered_at DateTime('UTC')"],
  ['clickhouse.table', 'ALTER TABLE events MODIFY COLUMN metadata_version Float64'],
  ['clickhouse.table', 'ALTER TABLE events MODIFY COLUMN seq UInt8'],
  ['clickhouse.ttl', 'ALTER TABLE events MODIFY TTL toDateTime(committed_at) + INTERVAL 7 DAY'],
  ['clickhouse.table', 'DETACH TABLE events'],
  ['clickhouse.table', 'DETACH TABLE events PERMANENTLY'],
  ['clickhouse.table', 'ALTER TABLE events MODIFY COLUMN span_id String EPHEMERAL'],
  ['clickhouse.merged_context', 'ALTER TABLE events RESET SETTING object_shared_data_serialization_version'],
  ['clickhouse.merged_context', 'ALTER TABLE events MODIFY SETTING min_bytes_for_wide_part = 134217728'],
  ['clickhouse.table', 'ALTER TABLE events MODIFY COLUMN span_id FixedString(16)'],
  [
    'clickhouse.table',
    'ALTER TABLE events MODIFY COLUMN event_id UUID TTL toDateTime(event_date_time) + INTERVAL 99 YEAR',
  ],
  [
    'clickhouse.ttl',
    'ALTER TABLE events MODIFY COLUMN recorded_by LowCardinality(String) TTL toDateTime(event_date_time) + INTERVAL 99 YEAR',
  ],
  ['clickhouse.table', 'DROP TABLE events SYNC'],
  // of an empty table: other numbers would not fit
  [
    'clickhouse.table',
    "ALTER TABLE events MODIFY COLUMN seq Enum8('x: ALTER TABLE … DROP COLUMN lsn; --' = 1, '0' = 0, '2' = 2)",
  ],
])('`doctor` reports %s after %s, until its fix is applied', async ([id, statement]) => {
  await outbox.clickhouse.command({ query: statement });
  // an administrator, because the least privileges do not cover a view's target
  const environment = { CLICKHOUSE_URL: outbox.clickhouseUrl };
  const finding = findingOf(await look(environment), id);
  expect(finding?.why).not.toBe('');
  expect(finding?.fix.length).toBeGreaterThan(0);
  for (const fix of finding!.fix) expect(fix.run).not.toContain('--');
  for (const fix of finding!.fix) await apply(fix, outbox);
  const left = await look(environment);
  expect(left.filter((other) => other.id.startsWith('clickhouse.'))).toEqual([]);
});

test('`doctor` names views that may count twice, too many parts and missing grants', async () => {
  const environment = { CLICKHOUSE_URL: outbox.clickhouseUrl };
  const run = async (query: string): Promise<unknown> => outbox.clickhouse.command({ query });
  await run('CREATE TABLE `to tal` (n UInt64) ENGINE = SummingMergeTree ORDER BY tuple()');
  await run('CREATE MATERIALIZED VIEW adder TO `to tal` AS SELECT count() AS n FROM events');
  const view = findingOf(await look(environment), 'clickhouse.views');
  expect(view?.fix).toEqual([
    {
      in: 'clickhouse',
      run: 'ALTER TABLE `examined`.`to tal` MODIFY SETTING non_replicated_deduplication_window = 10000',
    },
  ]);
  await apply(view!.fix[0]!, outbox);
  expect(findingOf(await look(environment), 'clickhouse.views')).toBeUndefined();
  await run('DROP VIEW adder SYNC');
  await run('CREATE MATERIALIZED VIEW inner_view ENGINE = MergeTree ORDER BY t AS SELECT event_type AS t FROM events');
  const inner = findingOf(await look(environment), 'clickhouse.views');
  expect(inner).toMatchObject({ level: 'warning', fix: [{ in: 'clickhouse' }] });
  await apply(inner!.fix[0]!, outbox);
  expect(findingOf(await look(environment), 'clickhouse.views')).toBeUndefined();
  await run('DROP VIEW inner_view SYNC');
  await outbox.addView();
  await run('DROP TABLE counts SYNC');
  expect(findingOf(await look(), 'clickhouse.views')).toMatchObject({
    level: 'error',
    found: 'the view examined.counter fills examined.counts, which does not exist',
  });
  await run('DROP VIEW counter SYNC');

  await run('ALTER TABLE events MODIFY SETTING parts_to_throw_insert = 4');
  await run('SYSTEM STOP MERGES events');
  for (const n of [1, 2, 3]) await run(`INSERT INTO events (event_type, lsn) VALUES ('part', ${n})`);
  const parts = findingOf(await look(environment), 'clickhouse.parts');
  expect(parts).toMatchObject({ level: 'warning', found: '3 of 4 parts in the fullest partition' });
  for (const fix of parts!.fix) await apply(fix, outbox);
  await eventually('they are merged', async () => findingOf(await look(environment), 'clickhouse.parts') === undefined);
  await run('ALTER TABLE events RESET SETTING parts_to_throw_insert');

  const limited = await look({ user: 'reader' });
  expect(findingOf(limited, 'clickhouse.privileges')).toMatchObject({
    level: 'error',
    fix: [{ run: 'GRANT INSERT ON `examined`.`events` TO `reader`' }],
  });
});

test('`doctor` counts the events of the last day that are not typed, and its query names their type', async () => {
  await using own = await Outbox.create();
  const streamer = own.stream();
  const sound = ['{}', '{"a":null}', '{"a":{"b":null}}', '{"a":[]}', '{"a": 1}', '{"a":"x:1"}'];
  const untyped = ['{"a":1,"a":2}', '{"lone" : "\\ud800"}', `{"deep":${'['.repeat(150)}${']'.repeat(150)}}`];
  for (const [type, texts] of Object.entries({ sound, untyped }))
    for (const text of texts)
      await own.postgres.query('INSERT INTO outbox.event (event_type, event_context) VALUES ($1, $2)', [type, text]);
  await own.postgres.query(
    `INSERT INTO outbox.event (event_type, event_context, event_date_time) VALUES ('old', '{"a":1,"a":2}', now() - interval '2 days')`,
  );
  await own.untilDelivered(10);
  const environment = { DATABASE_URL: own.databaseUrl, CLICKHOUSE_URL: own.clickhouseUrl, OUTBOX_SLOT: own.slot };
  const finding = findingOf(await examine(environment), 'clickhouse.typed_context');
  expect(finding).toMatchObject({ level: 'warning', found: '3 of 9 events of the last day are not typed', fix: [] });
  const [, query] = /Find the producers: (.*)\.$/.exec(finding?.why ?? '') ?? [];
  expect(await own.select(query!)).toEqual([expect.objectContaining({ event_type: 'untyped', 'count()': 3 })]);
  expect(await streamer.stop()).toBe(0);
});

test('`doctor` reports quarantined events, a missing streamer and an endangered slot, until each is fixed', async () => {
  const constraint = async (what: string): Promise<unknown> =>
    outbox.clickhouse.command({ query: `ALTER TABLE events ${what}` });
  await constraint("ADD CONSTRAINT good CHECK event_type != 'bad'");
  const streamer = outbox.stream();
  await outbox.fill(1, 'bad');
  await outbox.fill(1);
  const aside = await eventually('it is set aside', async () => findingOf(await look(), 'postgres.quarantine'));
  expect(aside).toMatchObject({ level: 'warning', found: '1 events' });
  await constraint('DROP CONSTRAINT good');
  for (const fix of aside.fix) await apply(fix, outbox);
  expect(findingOf(await look(), 'postgres.quarantine')).toBeUndefined();

  expect(await streamer.stop()).toBe(0);
  expect(findingOf(await look(), 'postgres.streamer')).toMatchObject({
    level: 'error',
    fix: [{ in: 'shell', run: 'pg-outbox-clickhouse run' }],
  });
  await outbox.postgres.query("ALTER SYSTEM SET max_slot_wal_keep_size = '40MB'");
  await outbox.postgres.query('SELECT pg_reload_conf()');
  await outbox.postgres.query('CREATE TABLE other (t text)');
  await outbox.postgres.query("INSERT INTO other SELECT repeat('x', 1000) FROM generate_series(1, 20000)");
  const short = await eventually('the slot runs out', async () => findingOf(await look(), 'postgres.slot'));
  expect(short).toMatchObject({ level: 'error', found: expect.stringContaining('OUTBOX_SLOT_ENDANGERED') });
  for (const fix of short.fix) await apply(fix, outbox);
  await outbox.stream().attached();
  await eventually('it has room', async () => findingOf(await look(), 'postgres.slot') === undefined);
  await eventually('it streams', async () => findingOf(await look(), 'postgres.streamer') === undefined);
});

test('`doctor` examines one database when the other cannot be reached, and prints no password', async () => {
  const url = 'http://someone:canary@127.0.0.1:9/none';
  const { code, stdout, stderr } = await command(outbox, ['doctor', '--json'], {
    CLICKHOUSE_URL: url,
    OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:9',
  }).done;
  expect({ code, stderr }).toEqual({ code: 1, stderr: '' });
  const { findings } = JSON.parse(stdout) as { findings: Finding[] };
  expect(findingOf(findings, 'clickhouse.connection')).toMatchObject({ level: 'error' });
  expect(findingOf(findings, 'otel.endpoint')).toMatchObject({ level: 'warning' });
  expect(findingOf(findings, 'postgres.slot')).toMatchObject({ level: 'ok' });
  expect(stdout).not.toContain('canary');
  const other = await look({ DATABASE_URL: 'postgres://someone:canary@127.0.0.1:9/none' });
  expect(other.map(({ id }) => id)).toEqual(['postgres.connection']);
  expect(JSON.stringify(other)).not.toContain('canary');
  const wrong = Object.assign(new URL(outbox.clickhouseUrl), { password: 'canary' }).href;
  const refused = findingOf(await look({ CLICKHOUSE_URL: wrong }), 'clickhouse.connection');
  expect(refused).toMatchObject({ level: 'error', found: expect.stringMatching(/^OUTBOX_CH_AUTH/) });
  expect(JSON.stringify(refused)).not.toContain('canary');
});

test('`erase` needs no more than the roles outbox_eraser, and `doctor` names no grant of theirs', async () => {
  const roles = await readFile(new URL('../../migrations/postgres/roles.sql', import.meta.url), 'utf8');
  // it stands by where another one streams
  outbox.stream();
  await outbox.postgres.query(`CREATE ROLE outbox_eraser LOGIN PASSWORD '${PASSWORD}'`);
  await outbox.postgres.query(roles);
  await outbox.postgres.query(
    "INSERT INTO outbox.event (event_type, event_context, subject) VALUES ('x', '{}', 'person/1')",
  );
  await eventually(
    'it is delivered',
    async () => (await outbox.select("SELECT 1 FROM events WHERE subject = 'person/1'")).length > 0,
  );
  // a scene before this one may have left something to be looked for, until an event is settled
  await eventually('nothing is looked for', async () => (await outbox.ledger())['read_back_below'] === null);
  const as = {
    DATABASE_URL: loginTo(outbox.databaseUrl, 'outbox_eraser'),
    CLICKHOUSE_URL: loginTo(outbox.clickhouseUrl, 'eraser'),
    OUTBOX_INSERT_TIMEOUT_MS: '1000',
  };
  const erasing = command(outbox, ['erase', '--subject', 'person/1', '--reason', 'asked', '--yes', '--json'], as);
  const { stdout, stderr } = await erasing.done;
  expect(JSON.parse(stdout || JSON.stringify(stderr))).toMatchObject({ erased: { outbox: 1, events: 1 } });
  expect(findingOf(await look(), 'postgres.grants')).toBeUndefined();
});
