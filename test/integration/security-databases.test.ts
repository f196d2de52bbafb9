import { readFile } from 'node:fs/promises';
import { Client } from 'pg';
import { expect, test } from 'vitest';
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
