import { escapeIdentifier } from 'pg';
import { expect, inject, test } from 'vitest';
import { readConfig } from '../../src/streamer/config.ts';
import { command } from '../support/command.ts';
import { Outbox } from '../support/outbox.ts';

const NAMES = [
  `"quoted" and 'quoted'`,
  'back`tick back\\slash',
  'größe 😀 dash-es dot.ted',
  'per%cent %41 100%',
  'select',
];

test.for(NAMES)('the streamer delivers when both databases are called %s', async (database) => {
  await using outbox = await Outbox.create({ database });
  const streamer = outbox.stream();
  await streamer.attached();
  await outbox.fill(3);
  await outbox.untilDelivered(3);
  expect(await streamer.stop()).toBe(0);
  expect(await outbox.delivered()).toEqual({ rows: 3, events: 3 });
});

/** The driver decodes a database's name as if it were a whole URL, so it leaves these characters as %2F, %3F and so on. */
test.for(['slash/question?hash#', 'at@colon:and&'])('the streamer accepts a database called %s', async (database) => {
  await using outbox = await Outbox.create({ database });
  const streamer = outbox.stream();
  const line = await streamer.log(({ msg }) => msg === 'attached' || msg.startsWith('not streaming'));
  expect(line.err?.code).toBeUndefined();
});

test('the streamer delivers as a Postgres user whose name needs quoting and encoding', async () => {
  await using outbox = await Outbox.create();
  const [user, password] = [`odd "user" '@:/%41 ü`, 'x'];
  const role = escapeIdentifier(user);
  await outbox.postgres.query(`
    CREATE ROLE ${role} LOGIN REPLICATION PASSWORD '${password}';
    GRANT USAGE ON SCHEMA outbox TO ${role};
    GRANT SELECT ON outbox.event TO ${role};
    GRANT SELECT, UPDATE ON outbox.stream TO ${role};
    GRANT SELECT, INSERT, UPDATE, DELETE ON outbox.quarantine TO ${role}`);
  try {
    const url = new URL(outbox.databaseUrl);
    url.username = encodeURIComponent(user);
    url.password = password;
    const streamer = outbox.stream({ DATABASE_URL: url.href });
    await streamer.attached();
    await outbox.fill(2);
    await outbox.untilDelivered(2);
    expect(await streamer.stop()).toBe(0);
  } finally {
    await outbox.postgres.query(`DROP OWNED BY ${role}; DROP ROLE ${role}`);
  }
});

test('readConfig rejects slot and table names that are not plain identifiers', () => {
  const [DATABASE_URL, CLICKHOUSE_URL] = [inject('postgresUrl'), inject('clickhouseUrl')];
  for (const OUTBOX_SLOT of ['a"b', 'a; DROP TABLE x', 'ü', 'a b', 'x'.repeat(64)])
    expect(() => readConfig({ DATABASE_URL, CLICKHOUSE_URL, OUTBOX_SLOT })).toThrow(/OUTBOX_SLOT must be/);
  for (const OUTBOX_CLICKHOUSE_TABLE of ['a.b', 'a`b', 'a b', '1a', "a'b"])
    expect(() => readConfig({ DATABASE_URL, CLICKHOUSE_URL, OUTBOX_CLICKHOUSE_TABLE })).toThrow(
      /OUTBOX_CLICKHOUSE_TABLE must be/,
    );
});

test('commands show what a terminal would act upon as escapes', async () => {
  await using outbox = await Outbox.create();
  await outbox.clickhouse.command({
    query: "ALTER TABLE events ADD CONSTRAINT sound CHECK NOT startsWith(event_type, 'evil')",
  });
  await outbox.clickhouse.command({ query: 'CREATE TABLE forgets (n UInt64) ENGINE = Memory' });
  await outbox.clickhouse.command({
    query: 'CREATE MATERIALIZED VIEW `view\u001b[2J\u202egnp` TO forgets AS SELECT count() AS n FROM events',
  });
  const streamer = outbox.stream();
  await outbox.fill(1, 'evil\u001b]0;title\u0007\u009b\u202e');
  await outbox.fill(1);
  await streamer.failure('OUTBOX_QUARANTINED');
  for (const args of [
    ['quarantine', 'list'],
    ['quarantine', 'list', '--json'],
    ['doctor', '--all'],
    ['doctor', '--json'],
  ]) {
    const { stdout, stderr } = await command(outbox, args).done;
    for (const character of ['\u001b', '\u0007', '\u009b', '\u202e']) expect(stdout + stderr).not.toContain(character);
    expect(stdout).toContain('\\u202e');
  }
  expect(await streamer.stop()).toBe(0);
});
