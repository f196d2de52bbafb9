import { Client } from 'pg';
import { expect, test } from 'vitest';
import { onFreePort } from '../../src/embedded/ports.ts';
import { holderOf } from '../../src/streamer/ledger/holder.ts';
import { Database } from '../../src/streamer/source/database.ts';
import { command } from '../support/command.ts';
import { examine, findingOf } from '../support/doctor.ts';
import { Outbox } from '../support/outbox.ts';
import { eventually } from '../support/wait.ts';

/** A program of somebody else's that reads the slot, until it is ended. */
async function consume(outbox: Outbox): Promise<Client> {
  const client = new Client({ connectionString: outbox.databaseUrl, replication: 'database' } as never);
  client.on('error', () => undefined);
  await client.connect();
  const start = `START_REPLICATION SLOT "${outbox.slot}" LOGICAL 0/0 (proto_version '1', publication_names 'outbox')`;
  client.query(start).catch(() => undefined);
  await eventually('it holds the slot', async () => {
    const { rows } = await outbox.postgres.query('SELECT active FROM pg_replication_slots WHERE slot_name = $1', [
      outbox.slot,
    ]);
    return rows[0].active === true;
  });
  return client;
}

test('a streamer is not ready while another program holds its slot, and attaches when that ends', async () => {
  await using outbox = await Outbox.create();
  const foreign = await consume(outbox);
  const environment = {
    DATABASE_URL: outbox.databaseUrl,
    CLICKHOUSE_URL: outbox.clickhouseUrl,
    OUTBOX_SLOT: outbox.slot,
  };
  const port = await onFreePort(0, async (free) => free);
  const streamer = outbox.stream({ OUTBOX_HEALTH_PORT: String(port) });
  const { err } = await streamer.failure('OUTBOX_SLOT_FOREIGN');
  expect(err?.message).toMatch(/is held by process \d+ \(role "\S+", application "[^"]*"\), which is no streamer/);
  const ready = await fetch(`http://127.0.0.1:${port}/readyz`);
  expect(ready.status).toBe(503);
  expect(await ready.text()).toContain('OUTBOX_SLOT_FOREIGN');
  const { code, stdout } = await command(outbox, ['status', '--json']).done;
  expect(code).toBe(1);
  expect(JSON.parse(stdout)).toMatchObject({
    flowing: false,
    streamer: null,
    reasons: [{ code: 'OUTBOX_SLOT_FOREIGN' }],
  });
  const finding = findingOf(await examine(environment), 'postgres.streamer');
  expect(finding).toMatchObject({
    level: 'error',
    found: expect.stringContaining('OUTBOX_SLOT_FOREIGN'),
    fix: [{ run: expect.stringMatching(/^SELECT pg_terminate_backend\(\d+\)$/) }],
  });
  const repair = await command(outbox, ['repair', '--new-slot']).done;
  expect(repair).toMatchObject({ code: 1, stderr: expect.stringContaining('OUTBOX_SLOT_FOREIGN') });
  await outbox.fill(5);
  await foreign.end();
  await outbox.untilDelivered(5);
  expect(await streamer.stop()).toBe(0);
});

test('a login without rights counts neither as a standby nor as a streamer by its application_name alone', async () => {
  await using outbox = await Outbox.create();
  const role = `nobody_${outbox.slot}`;
  await outbox.postgres.query(`CREATE ROLE ${role} LOGIN PASSWORD 'p'`);
  const url = Object.assign(new URL(outbox.databaseUrl), { username: role, password: 'p' }).href;
  const fake = new Client({ connectionString: url, application_name: 'pg-outbox-clickhouse' });
  await fake.connect();
  const db = await Database.connect(outbox.databaseUrl, {}, () => undefined);
  expect(await holderOf(db, outbox.slot)).toMatchObject({ standbys: 0 });
  const holder = outbox.stream();
  await holder.attached();
  const standby = outbox.stream();
  await standby.failure('OUTBOX_SLOT_BUSY');
  expect(await holderOf(db, outbox.slot)).toMatchObject({ standbys: 1 });
  await db.close();
  await fake.end();
  await outbox.postgres.query(`DROP ROLE ${role}`);
});

test('a streamer stands by behind one whose DATABASE_URL names an application of its own', async () => {
  await using outbox = await Outbox.create();
  const named = new URL(outbox.databaseUrl);
  named.searchParams.set('application_name', 'events-eu');
  const holder = outbox.stream({ DATABASE_URL: named.href });
  await holder.attached();
  const standby = outbox.stream();
  await standby.failure('OUTBOX_SLOT_BUSY');
  await holder.kill();
  await standby.attached();
  expect(await standby.stop()).toBe(0);
});
