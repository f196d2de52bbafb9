import { readFile } from 'node:fs/promises';
import { Client } from 'pg';
import { expect, test } from 'vitest';
import { ERRORS, type ErrorCode } from '../../src/errors.ts';
import { command } from '../support/command.ts';
import { Outbox } from '../support/outbox.ts';
import { Proxy } from '../support/proxy.ts';
import { Streamer } from '../support/streamer.ts';

/** The streamer says what is wrong and what to do, stays alive, and streams by itself after the fix. */
async function expectRecovery(
  outbox: Outbox,
  streamer: Streamer,
  code: ErrorCode,
  fix: () => Promise<unknown>,
): Promise<void> {
  const { err, level } = await streamer.failure(code);
  expect(level).toBe('error');
  expect(err?.next).toBe(ERRORS[code].next);
  expect(streamer.isRunning).toBe(true);
  await fix();
  await outbox.fill(5);
  await outbox.untilDelivered(5);
  expect(await streamer.stop()).toBe(0);
}

test('the streamer reports that Postgres is not migrated, and streams once it is', async () => {
  await using outbox = await Outbox.create({ migrated: false });
  await expectRecovery(outbox, outbox.stream(), 'OUTBOX_PG_NOT_MIGRATED', async () => outbox.migrate());
});

test('the streamer reports that ClickHouse’s table is missing, and streams once it is there', async () => {
  await using outbox = await Outbox.create();
  await outbox.clickhouse.command({ query: 'DROP TABLE events' });
  await expectRecovery(outbox, outbox.stream(), 'OUTBOX_CH_NOT_MIGRATED', async () => outbox.migrate());
});

test('the streamer, `status` and `migrate` report that ClickHouse’s table is detached, and events flow once it is attached', async () => {
  await using outbox = await Outbox.create();
  await outbox.clickhouse.command({ query: 'DETACH TABLE events' });
  const streamer = outbox.stream();
  const { err } = await streamer.failure('OUTBOX_CH_TABLE_DETACHED');
  expect(err?.next).toContain('ATTACH TABLE');
  for (const args of [['migrate'], ['status']]) {
    const { code, stdout, stderr } = await command(outbox, args).done;
    expect({ code, said: stdout + stderr }).toMatchObject({
      code: 1,
      said: expect.stringContaining('OUTBOX_CH_TABLE_DETACHED'),
    });
    expect(stdout + stderr).not.toContain('OUTBOX_CH_NOT_MIGRATED');
  }
  await expectRecovery(outbox, streamer, 'OUTBOX_CH_TABLE_DETACHED', async () =>
    outbox.clickhouse.command({ query: 'ATTACH TABLE events' }),
  );
});

test('the streamer reports every unsuitable setting of ClickHouse’s table, and streams once they are fixed', async () => {
  await using outbox = await Outbox.create();
  const set = 'ALTER TABLE events MODIFY SETTING';
  await outbox.clickhouse.command({ query: `${set} non_replicated_deduplication_window = 0, fsync_after_insert = 0` });
  const streamer = outbox.stream();
  const { err } = await streamer.failure('OUTBOX_CH_TABLE_UNSUITABLE');
  expect(err?.message).toContain('non_replicated_deduplication_window is 0');
  expect(err?.message).toContain('fsync_after_insert is 0');
  await expectRecovery(outbox, streamer, 'OUTBOX_CH_TABLE_UNSUITABLE', async () =>
    outbox.clickhouse.command({ query: `${set} non_replicated_deduplication_window = 10000, fsync_after_insert = 1` }),
  );
});

test('the streamer reports that ClickHouse is down at its start, and streams once it is up', async () => {
  await using outbox = await Outbox.create();
  const { proxy, url } = await Proxy.to(new URL(outbox.clickhouseUrl));
  await proxy.close();
  const streamer = outbox.stream({ CLICKHOUSE_URL: url });
  await expectRecovery(outbox, streamer, 'OUTBOX_CH_UNREACHABLE', async () => proxy.listen());
  await proxy.close();
});

test('the streamer reports that Postgres is down at its start, and streams once it is up', async () => {
  await using outbox = await Outbox.create();
  const { proxy, url } = await Proxy.to(new URL(outbox.databaseUrl));
  await proxy.close();
  const streamer = outbox.stream({ DATABASE_URL: url });
  await expectRecovery(outbox, streamer, 'OUTBOX_PG_UNREACHABLE', async () => proxy.listen());
  await proxy.close();
});

test('the streamer reports a wrong password with a code for each database, and never prints it', async () => {
  await using outbox = await Outbox.create();
  const wrong = (url: string): string => Object.assign(new URL(url), { password: 'canary-pw' }).href;
  const one = outbox.stream({ DATABASE_URL: wrong(outbox.databaseUrl) });
  await one.failure('OUTBOX_PG_AUTH');
  const two = outbox.stream({ CLICKHOUSE_URL: wrong(outbox.clickhouseUrl) });
  await two.failure('OUTBOX_CH_AUTH');
  for (const streamer of [one, two]) {
    expect(streamer.isRunning).toBe(true);
    expect(await streamer.stop()).toBe(0);
    expect(streamer.output).not.toContain('canary-pw');
  }
});

test('the streamer stops without waiting for ClickHouse, and the next start delivers what is pending', async () => {
  await using outbox = await Outbox.create();
  const { proxy, url } = await Proxy.to(new URL(outbox.clickhouseUrl));
  const streamer = outbox.stream({ CLICKHOUSE_URL: url });
  await streamer.attached();
  await outbox.fill(5);
  await outbox.untilDelivered(5);
  await proxy.close();
  await outbox.fill(5);
  await streamer.failure('OUTBOX_CH_UNREACHABLE');
  expect(await streamer.stop()).toBe(0);
  expect((await outbox.ledger())['pending_token']).not.toBeNull();
  const successor = outbox.stream();
  await outbox.untilDelivered(10);
  expect(await successor.stop()).toBe(0);
  expect(await outbox.delivered()).toEqual({ rows: 10, events: 10 });
});

test('the streamer reports a publication without outbox.event, and asks for `repair` once it is back', async () => {
  await using outbox = await Outbox.create();
  await outbox.postgres.query('ALTER PUBLICATION outbox DROP TABLE outbox.event');
  const columns =
    'event_id, event_type, event_date_time, environment, event_context, metadata_version, subject, traceparent, recorded_at, recorded_by';
  const streamer = outbox.stream();
  await streamer.failure('OUTBOX_PUBLICATION_MISSING');
  await outbox.postgres.query(`ALTER PUBLICATION outbox ADD TABLE outbox.event (${columns})`);
  // the stream lacks what was committed meanwhile, so the streamer does not go on by itself
  const { err } = await streamer.failure('OUTBOX_PUBLICATION_CHANGED');
  expect(err?.next).toContain('repair');
  expect(await streamer.stop()).toBe(0);
});

test('the streamer stops at WAL that is older than the publication, instead of passing over its events (invariant 8)', async () => {
  await using outbox = await Outbox.create();
  await outbox.postgres.query('DROP PUBLICATION outbox');
  await outbox.fill(1);
  // as if nobody had ever streamed: the ledger cannot tell that the publication is another one
  await outbox.postgres.query('UPDATE outbox.stream SET publication = NULL');
  await outbox.migrate();
  const end = await outbox.walEnd();
  const streamer = outbox.stream();
  await streamer.failure('OUTBOX_PUBLICATION_CHANGED');
  const { rows } = await outbox.postgres.query<{ passed: boolean }>(
    'SELECT confirmed_flush_lsn >= $1::pg_lsn AS passed FROM pg_replication_slots WHERE slot_name = $2',
    [end, outbox.slot],
  );
  expect(rows).toEqual([{ passed: false }]);
  expect(await streamer.stop()).toBe(0);
});

test('the streamer reports a table that left and rejoined the publication, and acknowledges nothing lost (invariant 8)', async () => {
  await using outbox = await Outbox.create();
  const streamer = outbox.stream();
  await streamer.attached();
  await outbox.fill(1);
  await outbox.untilDelivered(1);
  const columns =
    'event_id, event_type, event_date_time, environment, event_context, metadata_version, subject, traceparent, recorded_at, recorded_by';
  await outbox.postgres.query('ALTER PUBLICATION outbox DROP TABLE outbox.event');
  const lost = await outbox.walEnd();
  await outbox.fill(1, 'test.unpublished');
  await outbox.postgres.query(`ALTER PUBLICATION outbox ADD TABLE outbox.event (${columns})`);
  await outbox.fill(1, 'test.after');
  await streamer.failure('OUTBOX_PUBLICATION_CHANGED');
  const end = await outbox.walEnd();
  expect(await outbox.confirmed(end)).toBe(false);
  expect(await outbox.confirmed(lost)).toBe(false);
  // after a restart the streamer reports it again
  await streamer.stop();
  const successor = outbox.stream();
  await successor.failure('OUTBOX_PUBLICATION_CHANGED');
});

test('the streamer reports a dropped slot, and neither it nor `migrate` creates it again', async () => {
  await using outbox = await Outbox.create();
  await outbox.postgres.query('SELECT pg_drop_replication_slot($1)', [outbox.slot]);
  const streamer = outbox.stream();
  await streamer.failure('OUTBOX_SLOT_MISSING');
  await expect(outbox.migrate()).rejects.toMatchObject({ code: 'OUTBOX_SLOT_MISSING' });
  const { rowCount } = await outbox.postgres.query('SELECT FROM pg_replication_slots WHERE slot_name = $1', [
    outbox.slot,
  ]);
  expect(rowCount).toBe(0);
});

test('a second streamer waits for the slot and takes over (invariant 5)', async () => {
  await using outbox = await Outbox.create();
  const first = outbox.stream();
  await first.attached();
  const second = outbox.stream();
  await second.failure('OUTBOX_SLOT_BUSY');
  await outbox.fill(10);
  await outbox.untilDelivered(10);
  await first.kill();
  await second.attached();
  await outbox.fill(10);
  await outbox.untilDelivered(20);
  expect(await outbox.delivered()).toEqual({ rows: 20, events: 20 });
});

test('a streamer that has lost its epoch stops, and delivers each event once under a new one (invariant 5)', async () => {
  await using outbox = await Outbox.create();
  const streamer = outbox.stream();
  await streamer.attached();
  await outbox.postgres.query('UPDATE outbox.stream SET epoch = epoch + 1 WHERE slot_name = $1', [outbox.slot]);
  await outbox.fill(10);
  await streamer.failure('OUTBOX_EPOCH_LOST');
  // no other streamer is there, so it comes back under a new epoch
  await outbox.untilDelivered(10);
  expect(await outbox.delivered()).toEqual({ rows: 10, events: 10 });
});

test('the streamer reports every configuration problem at once and exits with code 2', async () => {
  const streamer = new Streamer({ OUTBOX_BATCH_MAX_ROWS: 'many', OUTBOX_FLUSH_INTERVAL: '5' });
  expect(await streamer.exited()).toBe(2);
  for (const text of [
    'OUTBOX_CONFIG_INVALID',
    'DATABASE_URL',
    'CLICKHOUSE_URL',
    'OUTBOX_BATCH_MAX_ROWS',
    'OUTBOX_FLUSH_INTERVAL_MS',
  ]) {
    expect(streamer.output).toContain(text);
  }
});

test('`migrate` applies each migration once when three run at once and one later', async () => {
  await using outbox = await Outbox.create({ migrated: false });
  await Promise.all([outbox.migrate(), outbox.migrate(), outbox.migrate()]);
  await outbox.migrate();
  const client = new Client(outbox.databaseUrl);
  await client.connect();
  const { rows } = await client.query('SELECT count(*)::int AS n FROM outbox.migration');
  await client.end();
  const journal = await readFile(new URL('../../migrations/postgres/meta/_journal.json', import.meta.url), 'utf8');
  expect(rows).toEqual([{ n: (JSON.parse(journal) as { entries: unknown[] }).entries.length }]);
});
