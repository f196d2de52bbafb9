import { readFile } from 'node:fs/promises';
import { ClickHouseLogLevel, createClient } from '@clickhouse/client';
import { escapeLiteral, type ClientBase, type DatabaseError } from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startClickHouse, type EmbeddedClickHouse } from '../../src/embedded/clickhouse.ts';
import type { ClickHouseUser } from '../../src/embedded/clickhouse-config.ts';
import { onFreePort } from '../../src/embedded/ports.ts';
import { emitEvent } from '../../src/app/index.ts';
import { readConfig } from '../../src/streamer/config.ts';
import { verifyManifests } from '../../src/streamer/commands/verify-manifests.ts';
import { ALL } from '../../src/streamer/compare/window.ts';
import { Manifests } from '../../src/streamer/manifests/manifests.ts';
import { Retention } from '../../src/streamer/retention/retention.ts';
import type { RetentionReport } from '../../src/streamer/retention/removal.ts';
import { Outbox } from '../support/outbox.ts';
import { eventually } from '../support/wait.ts';

const PASSWORD = `p'"\`@:/?#[]%20 %41 \\ &=+;,$ ü€😀`;
const DATABASE = 'privileges';
/** The grants that SECURITY.md lists. */
const GRANTS = {
  insert: `GRANT INSERT ON ${DATABASE}.events`,
  select: `GRANT SELECT ON ${DATABASE}.events`,
  view: `GRANT SHOW TABLES ON ${DATABASE}.counter`,
  target: `GRANT SHOW TABLES ON ${DATABASE}.counts`,
  tables: 'GRANT SELECT ON system.tables',
  columns: 'GRANT SELECT ON system.columns',
  settings: 'GRANT SELECT ON system.settings',
  merge_tree_settings: 'GRANT SELECT ON system.merge_tree_settings',
  processes: 'GRANT SELECT ON system.processes',
  parts: 'GRANT SELECT ON system.parts',
};

/** A user with all of these grants except `missing`. */
const without = (missing?: keyof typeof GRANTS): ClickHouseUser => ({
  user: missing === undefined ? 'least' : `no_${missing}`,
  password: PASSWORD,
  grants: Object.entries(GRANTS).flatMap(([name, grant]) => (name === missing ? [] : [grant])),
});

/** What roles.sql grants a streamer that makes manifests. */
const WITNESSED = 'privileges_witnessed';
const WITNESS: ClickHouseUser = {
  user: 'witness',
  password: PASSWORD,
  grants: [
    ...['events', 'events_manifests'].map((table) => `GRANT SELECT, INSERT ON ${WITNESSED}.${table}`),
    ...['tables', 'columns', 'settings', 'merge_tree_settings', 'processes'].map(
      (name) => `GRANT SELECT ON system.${name}`,
    ),
  ],
};

const ROLES = await readFile(new URL('../../migrations/postgres/roles.sql', import.meta.url), 'utf8');
let clickhouse: EmbeddedClickHouse;
let outbox: Outbox;

function login(url: string, user: string): string {
  return Object.assign(new URL(url), { username: user, password: encodeURIComponent(PASSWORD) }).href;
}

beforeAll(async () => {
  clickhouse = await startClickHouse({
    users: [without(), WITNESS, ...(['insert', 'view', 'target', 'merge_tree_settings'] as const).map(without)],
  });
  outbox = await Outbox.create({ clickhouseUrl: clickhouse.url, database: DATABASE });
  // the second run is as after an upgrade
  for (let runs = 0; runs < 2; runs++) await outbox.postgres.query(ROLES);
  await outbox.postgres.query(`ALTER ROLE outbox_streamer PASSWORD ${escapeLiteral(PASSWORD)}`);
  await outbox.addView();
});

afterAll(async () => {
  await outbox?.[Symbol.asyncDispose]();
  await clickhouse?.dispose();
});

/** Logs in as the least privileged users. Their password has each character that has a meaning in URLs, SQL or headers. */
function streamAs(user = 'least', environment: Record<string, string> = {}) {
  return outbox.stream({
    DATABASE_URL: login(outbox.databaseUrl, 'outbox_streamer'),
    CLICKHOUSE_URL: login(outbox.clickhouseUrl, user),
    ...environment,
  });
}

test('the streamer delivers, repeats inserts, reads them back and is ready with only the documented grants', async () => {
  const port = await onFreePort(0, async (free) => free);
  const streamer = streamAs('least', {
    OUTBOX_HEALTH_PORT: String(port),
    OUTBOX_INSERT_TIMEOUT_MS: '1000',
    OUTBOX_QUARANTINE_MAX_ROWS: '0',
  });
  await streamer.attached();
  await outbox.fill(5);
  await outbox.untilDelivered(5);
  // ClickHouse rejects the insert; the streamer reads it back, because the window was off meanwhile, and sends it again
  const alter = async (what: string): Promise<unknown> =>
    outbox.clickhouse.command({ query: `ALTER TABLE events ${what}` });
  await alter("ADD CONSTRAINT never CHECK event_type != 'test.later'");
  await outbox.fill(5, 'test.later');
  await streamer.failure('OUTBOX_QUARANTINE_FULL');
  await alter('MODIFY SETTING non_replicated_deduplication_window = 0');
  await streamer.failure('OUTBOX_CH_TABLE_UNSUITABLE');
  await alter('MODIFY SETTING non_replicated_deduplication_window = 10000');
  await alter('DROP CONSTRAINT never');
  await outbox.untilDelivered(10);
  await streamer.log(({ msg }) => msg === 'the pending insert was looked for');
  await eventually('it is ready', async () => (await fetch(`http://127.0.0.1:${port}/readyz`)).ok);
  expect(await streamer.stop()).toBe(0);
  expect(await outbox.delivered()).toEqual({ rows: 10, events: 10 });
  expect(await outbox.viewed()).toBe(10);
  expect(streamer.logs.filter(({ err }) => err?.code === 'OUTBOX_CH_VIEW_FORGETS')).toEqual([]);
  for (const part of [PASSWORD, encodeURIComponent(PASSWORD), JSON.stringify(PASSWORD).slice(1, -1)])
    expect(streamer.output).not.toContain(part);
});

describe('the streamer names a missing privilege', () => {
  test.for<readonly [string, string]>([
    ['REVOKE UPDATE ON outbox.stream FROM outbox_streamer', 'GRANT UPDATE ON outbox.stream TO outbox_streamer'],
    ['REVOKE SELECT ON outbox.stream FROM outbox_streamer', 'GRANT SELECT ON outbox.stream TO outbox_streamer'],
    ['REVOKE USAGE ON SCHEMA outbox FROM outbox_streamer', 'GRANT USAGE ON SCHEMA outbox TO outbox_streamer'],
    ['ALTER ROLE outbox_streamer NOREPLICATION', 'ALTER ROLE outbox_streamer REPLICATION'],
  ])('in Postgres after %s, and attaches once it is granted again', async ([revoke, grant]) => {
    await outbox.postgres.query(revoke);
    const streamer = streamAs();
    try {
      const { err } = await streamer.failure('OUTBOX_PG_PRIVILEGE');
      expect(err).toMatchObject({ sqlState: '42501', next: expect.stringContaining('roles.sql') });
    } finally {
      await outbox.postgres.query(grant);
    }
    // after the fix it goes on by itself
    await streamer.attached();
    expect(await streamer.stop()).toBe(0);
  });

  // other system tables are open to all, unless the server's configuration closes them
  test.for([
    ['insert', 'OUTBOX_CH_AUTH', 'grant INSERT'],
    ['merge_tree_settings', 'OUTBOX_CH_AUTH', 'grant SELECT ON system.merge_tree_settings'],
    ['view', 'OUTBOX_CH_VIEW_FORGETS', 'counter cannot be checked'],
    ['target', 'OUTBOX_CH_VIEW_FORGETS', 'counter'],
  ] as const)('in ClickHouse, for a user without the grant %s', async ([missing, code, said]) => {
    const streamer = streamAs(`no_${missing}`);
    try {
      await streamer.attached();
      await outbox.fill(1);
      const { err } = await streamer.failure(code);
      expect(`${err?.message} ${err?.problems?.join()}`).toContain(said);
    } finally {
      await streamer.kill();
    }
  });
});

/** Runs a statement as the role and rolls it back. Returns its SQLSTATE, or 'done'. */
async function outcome(role: string, work: (client: ClientBase) => Promise<unknown>): Promise<string> {
  const client = await outbox.postgres.connect();
  try {
    await client.query(`BEGIN; SET LOCAL ROLE ${role}`);
    await work(client);
    return 'done';
  } catch (error) {
    return (error as DatabaseError).code ?? String(error);
  } finally {
    await client.query('ROLLBACK');
    client.release();
  }
}

async function expectRefused(role: string, statements: readonly string[]): Promise<void> {
  for (const statement of statements) {
    const answer = await outcome(role, async (client) => client.query(statement));
    expect([statement, answer]).toEqual([statement, '42501']);
  }
}

test('the role outbox_producer can emit events and do nothing else', async () => {
  const emit = async (client: ClientBase): Promise<unknown> => emitEvent(client, { type: 'produced', context: {} });
  expect(await outcome('outbox_producer', emit)).toBe('done');
  await expectRefused('outbox_producer', [
    'SELECT FROM outbox.event',
    "UPDATE outbox.event SET event_type = 'x'",
    'DELETE FROM outbox.event',
    'TRUNCATE outbox.event',
    "INSERT INTO outbox.event (event_type, event_context) VALUES ('t', '{}') RETURNING event_id",
    "INSERT INTO outbox.event_01 (event_type, event_context, bucket) VALUES ('t', '{}', 1)",
    'COPY outbox.event TO STDOUT',
    'SELECT FROM outbox.stream',
    'UPDATE outbox.stream SET epoch = 0',
    'ALTER TABLE outbox.event ADD COLUMN x int',
    'CREATE TABLE outbox.mine (n int)',
    "SELECT pg_create_logical_replication_slot('mine', 'pgoutput')",
    `SELECT pg_drop_replication_slot('${outbox.slot}')`,
    'DROP PUBLICATION outbox',
    'ALTER PUBLICATION outbox DROP TABLE outbox.event',
  ]);
});

test('the role outbox_streamer can neither change nor add events, nor alter what it streams', async () => {
  await expectRefused('outbox_streamer', [
    "INSERT INTO outbox.event (event_type, event_context) VALUES ('t', '{}')",
    "UPDATE outbox.event SET event_type = 'x'",
    'DELETE FROM outbox.event',
    'DELETE FROM outbox.stream',
    "INSERT INTO outbox.stream (slot_name, system_id) VALUES ('x', '1')",
    'ALTER PUBLICATION outbox DROP TABLE outbox.event',
    'CREATE TABLE outbox.mine (n int)',
  ]);
});

test('retention removes expired events as outbox_streamer, and names a grant that is missing', async () => {
  // an outbox of its own: in the shared one a killed streamer's rows are still to be read back
  await using other = await Outbox.create();
  await other.postgres.query(ROLES);
  const retain = async (): Promise<RetentionReport> =>
    new Retention(
      readConfig({
        DATABASE_URL: login(other.databaseUrl, 'outbox_streamer'),
        CLICKHOUSE_URL: other.clickhouseUrl,
        OUTBOX_SLOT: other.slot,
      }),
    ).run({ signal: new AbortController().signal });
  const streamer = other.stream({ OUTBOX_RETENTION_DAYS: '0' });
  await streamer.attached();
  await other.postgres.query(`
    INSERT INTO outbox.event (event_type, event_context, recorded_at, bucket)
    SELECT 'old', '{}'::json, now() - make_interval(days => 40), bucket FROM unnest('{30,31}'::int[]) bucket`);
  await other.postgres.query('REVOKE TRUNCATE ON outbox.event_30 FROM outbox_streamer');
  await expect(retain()).rejects.toMatchObject({
    code: 'OUTBOX_PG_PRIVILEGE',
    problems: [expect.stringContaining('TRUNCATE ON outbox.event_30')],
  });
  await other.postgres.query('GRANT TRUNCATE ON outbox.event_30 TO outbox_streamer');
  const removed = await eventually('both are emptied', async () => {
    const { removed: both } = await retain();
    return both.length === 2 && both;
  });
  expect(removed.map(({ table }) => table)).toEqual(['outbox.event_30', 'outbox.event_31']);
  expect(await streamer.stop()).toBe(0);
});

test('manifests are made and checked with only the documented grants, under which none can be changed', async () => {
  await using other = await Outbox.create({ clickhouseUrl: clickhouse.url, database: WITNESSED });
  await other.postgres.query(ROLES);
  await other.stream({ OUTBOX_RETENTION_DAYS: '0' }).attached();
  await other.postgres.query(`
    INSERT INTO outbox.event (event_type, event_context, recorded_at, bucket)
    SELECT 'old', '{}'::json, at, (extract(epoch FROM at)::bigint / 86400) % 32 FROM (SELECT now() - interval '3 hours' AS at) t`);
  await other.untilDelivered(1);
  const config = readConfig({
    DATABASE_URL: login(other.databaseUrl, 'outbox_streamer'),
    CLICKHOUSE_URL: login(other.clickhouseUrl, 'witness'),
    OUTBOX_SLOT: other.slot,
  });
  const report = await new Manifests(config).run({ signal: new AbortController().signal, waitMs: 60_000 });
  expect(report).toMatchObject({ made: 1, trouble: undefined });
  const options = { window: ALL, anchor: '', keys: '', limit: 5, asksPostgres: true };
  expect(await verifyManifests(config, options)).toMatchObject({ intact: true, postgres: 'asked' });
  await expectRefused('outbox_streamer', ['UPDATE outbox.manifest SET events = 2', 'DELETE FROM outbox.manifest']);
  const witness = createClient({ url: login(other.clickhouseUrl, 'witness'), log: { level: ClickHouseLogLevel.OFF } });
  for (const query of ['ALTER TABLE events_manifests DELETE WHERE true', 'TRUNCATE TABLE events_manifests'])
    await expect(witness.command({ query })).rejects.toMatchObject({ type: 'ACCESS_DENIED' });
  await witness.close();
});
