import { readFile } from 'node:fs/promises';
import { createClient } from '@clickhouse/client';
import { Client } from 'pg';
import { expect, test } from 'vitest';
import { startClickHouse } from '../../src/embedded/clickhouse.ts';
import { Outbox } from '../support/outbox.ts';

const SECURITY = await readFile(new URL('../../SECURITY.md', import.meta.url), 'utf8');
/** What SECURITY.md says to run in the other databases. */
const REVOKE = /`(REVOKE EXECUTE ON FUNCTION pg_logical_emit_message[^`]*)`/.exec(SECURITY)![1]!;

test('what a login writes into WAL in another database is not in the stream, and SECURITY.md closes that way', async () => {
  await using outbox = await Outbox.create();
  await using other = await Outbox.create({ migrated: false });
  const role = `elsewhere_${other.slot}`;
  await outbox.postgres.query(`CREATE ROLE ${role} LOGIN PASSWORD 'p'`);
  const login = Object.assign(new URL(other.databaseUrl), { username: role, password: 'p' }).href;
  const client = new Client({ connectionString: login });
  await client.connect();
  const emit = "SELECT pg_logical_emit_message(false, 'x', repeat('y', 100000))";
  await client.query(emit);
  const streamer = outbox.stream();
  await outbox.fill(2);
  await outbox.untilDelivered(2);
  expect(await streamer.stop()).toBe(0);
  expect(await outbox.delivered()).toEqual({ rows: 2, events: 2 });
  await other.postgres.query(REVOKE);
  await expect(client.query(emit)).rejects.toMatchObject({ code: '42501' });
  await client.end();
  await outbox.postgres.query(`DROP ROLE ${role}`);
});

test('a view in another database that every insert fills is named while it fails; who reads a view of the table cannot make one', async () => {
  const own = ['GRANT CREATE VIEW, DROP VIEW, INSERT, SELECT ON other.*'];
  await using clickhouse = await startClickHouse({
    users: [
      { user: 'reader', password: 'p', grants: [...own, 'GRANT SELECT ON read_by_others.readable'] },
      { user: 'analyst', password: 'p', grants: [...own, 'GRANT SELECT ON read_by_others.events'] },
    ],
  });
  await using outbox = await Outbox.create({ clickhouseUrl: clickhouse.url, database: 'read_by_others' });
  for (const query of [
    'CREATE VIEW readable SQL SECURITY DEFINER AS SELECT * FROM events',
    'CREATE DATABASE other',
    'CREATE TABLE other.sink (x String) ENGINE = MergeTree ORDER BY x SETTINGS non_replicated_deduplication_window = 1000',
  ])
    await outbox.clickhouse.command({ query });
  const run = async (username: string, query: string): Promise<void> => {
    const client = createClient({
      url: Object.assign(new URL(clickhouse.url), { username, password: 'p', pathname: '/' }).href,
      log: { level: 127 },
    });
    try {
      await client.command({ query });
    } finally {
      await client.close();
    }
  };
  const trap = (name: string, table: string): string =>
    `CREATE MATERIALIZED VIEW other.${name} TO other.sink AS SELECT toString(throwIf(1)) AS x FROM read_by_others.${table}`;
  const streamer = outbox.stream();
  await expect(run('reader', trap('trap', 'events'))).rejects.toMatchObject({ code: '497' });
  await run('reader', trap('quiet', 'readable'));
  await outbox.fill(1);
  await outbox.untilDelivered(1);
  await run('analyst', trap('trap', 'events'));
  // the insert during which it came may go on without it; the next one fails
  await outbox.fill(1);
  await streamer.failure('OUTBOX_CH_VIEW_FAILED');
  await outbox.untilDelivered(2);
  await outbox.fill(1);
  await streamer.log(
    ({ err }) => err?.code === 'OUTBOX_CH_VIEW_FAILED' && err.problems?.join().includes('other.trap') === true,
  );
  await run('analyst', 'DROP VIEW other.trap');
  await outbox.untilDelivered(3);
  expect(await streamer.stop()).toBe(0);
});
