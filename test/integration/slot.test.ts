import { get } from 'node:http';
import { json } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import { expect, test } from 'vitest';
import { onFreePort } from '../../src/embedded/ports.ts';
import { startPostgres } from '../../src/embedded/postgres.ts';
import type { ErrorCode } from '../../src/errors.ts';
import type { ReadinessReport } from '../../src/streamer/observe/readiness.ts';
import { command } from '../support/command.ts';
import { Outbox, withDatabase } from '../support/outbox.ts';
import { Proxy } from '../support/proxy.ts';
import type { Streamer } from '../support/streamer.ts';
import { eventually } from '../support/wait.ts';

const MIB = 1024 * 1024;

const DROP_AND_MAKE = `SELECT pg_drop_replication_slot($1), pg_create_logical_replication_slot($1, 'pgoutput')`;
const ADVANCE = 'SELECT pg_replication_slot_advance($1, pg_current_wal_lsn())';
const CONSUME = `SELECT count(*) FROM pg_logical_slot_get_binary_changes($1, NULL, NULL, 'proto_version', '1', 'publication_names', 'outbox')`;
const PEEK = CONSUME.replace('_get_', '_peek_');

const MEDDLERS: { title: string; meddle: (outbox: Outbox) => Promise<unknown> }[] = [
  { title: 'dropped and created again', meddle: async (outbox) => outbox.postgres.query(DROP_AND_MAKE, [outbox.slot]) },
  { title: 'advanced by hand', meddle: async (outbox) => outbox.postgres.query(ADVANCE, [outbox.slot]) },
  { title: 'read by another consumer', meddle: async (outbox) => outbox.postgres.query(CONSUME, [outbox.slot]) },
];

async function slotOf(outbox: Outbox): Promise<Record<string, string | boolean | null> | undefined> {
  const { rows } = await outbox.postgres.query(
    `SELECT restart_lsn, confirmed_flush_lsn, wal_status, to_jsonb(s) ->> 'invalidation_reason' AS invalidation_reason, active,
            pg_current_wal_lsn() - restart_lsn AS retained, pg_current_wal_lsn() - confirmed_flush_lsn AS unconfirmed
       FROM pg_replication_slots s WHERE slot_name = $1`,
    [outbox.slot],
  );
  return rows[0];
}

/** This streamer and the next one report the code; neither acknowledges or delivers anything. */
async function expectLoud(outbox: Outbox, streamer: Streamer, code: ErrorCode, events: number): Promise<void> {
  await streamer.failure(code);
  const before = await slotOf(outbox);
  expect(await streamer.stop()).toBe(0);
  const successor = outbox.stream();
  await outbox.fill(1, 'test.after');
  await successor.failure(code);
  expect(successor.isRunning).toBe(true);
  expect(await slotOf(outbox)).toMatchObject({ confirmed_flush_lsn: before!['confirmed_flush_lsn'] });
  expect(await outbox.delivered()).toEqual({ rows: events, events });
}

test.concurrent.each(MEDDLERS)(
  'the streamer rejects a slot that was $title while nobody streamed, also after a restart (invariant 8)',
  async ({ meddle }) => {
    await using outbox = await Outbox.create();
    const streamer = outbox.stream();
    await outbox.fill(10);
    await outbox.untilDelivered(10);
    expect(await streamer.stop()).toBe(0);
    await outbox.fill(10, 'test.skipped');
    await meddle(outbox);
    await expectLoud(outbox, outbox.stream(), 'OUTBOX_SLOT_CHANGED', 10);
  },
);

test.concurrent('the streamer rejects a slot that was created again even if nothing was committed meanwhile (invariant 8)', async () => {
  await using outbox = await Outbox.create();
  const streamer = outbox.stream();
  await streamer.attached();
  expect(await streamer.stop()).toBe(0);
  await outbox.postgres.query(DROP_AND_MAKE, [outbox.slot]);
  await expectLoud(outbox, outbox.stream(), 'OUTBOX_SLOT_CHANGED', 0);
});

test.concurrent.each(MEDDLERS)(
  'the streamer rejects a slot $title during a disconnect (invariant 8)',
  async ({ meddle }) => {
    await using outbox = await Outbox.create();
    const { proxy, url } = await Proxy.to(new URL(outbox.databaseUrl));
    const streamer = outbox.stream({ DATABASE_URL: url });
    await outbox.fill(10);
    await outbox.untilDelivered(10);
    // the streamer is disconnected for a moment
    await proxy.close();
    await eventually('the slot is free', async () => (await slotOf(outbox))?.['active'] === false);
    await outbox.fill(10, 'test.skipped');
    await meddle(outbox);
    await proxy.listen();
    await expectLoud(outbox, streamer, 'OUTBOX_SLOT_CHANGED', 10);
    await proxy.close();
  },
);

test.concurrent('the streamer accepts a slot that someone only peeked at', async () => {
  await using outbox = await Outbox.create();
  await outbox.fill(10);
  await outbox.postgres.query(PEEK, [outbox.slot]);
  const streamer = outbox.stream();
  await outbox.untilDelivered(10);
  expect(await streamer.stop()).toBe(0);
  await outbox.fill(10);
  await outbox.postgres.query(PEEK, [outbox.slot]);
  outbox.stream();
  await outbox.untilDelivered(20);
  expect(await outbox.delivered()).toEqual({ rows: 20, events: 20 });
});

test.concurrent('the streamer rejects a ledger that came with a dump of another cluster', async () => {
  await using outbox = await Outbox.create();
  await outbox.postgres.query("UPDATE outbox.stream SET system_id = '6900000000000000001'");
  const streamer = outbox.stream();
  await outbox.fill(1);
  await expectLoud(outbox, streamer, 'OUTBOX_SYSTEM_CHANGED', 0);
});

test.concurrent('the streamer warns that fsync and full_page_writes are off, says what to do, and delivers', async () => {
  await using postgres = await startPostgres({ settings: { fsync: 'off', full_page_writes: 'off' } });
  await using outbox = await Outbox.create({ postgresUrl: postgres.url });
  const streamer = outbox.stream();
  const { err, level } = await streamer.failure('OUTBOX_PG_UNSAFE');
  expect(level).toBe('warn');
  expect(err?.problems).toEqual([
    'fsync is off: ALTER SYSTEM SET fsync = on',
    'full_page_writes is off: ALTER SYSTEM SET full_page_writes = on',
  ]);
  await outbox.fill(1);
  await outbox.untilDelivered(1);
});

/** Writes about so much WAL without events. */
async function writeWal(outbox: Outbox, mebibytes: number): Promise<void> {
  await outbox.postgres.query(
    `SELECT pg_logical_emit_message(false, 'test', repeat('x', ${MIB})) FROM generate_series(1, $1::int)`,
    [mebibytes],
  );
}

test.concurrent('the streamer reports an invalidated slot, and neither it nor `migrate` creates it again (invariant 8)', async () => {
  await using postgres = await startPostgres({ settings: { max_slot_wal_keep_size: '32MB', max_wal_size: '64MB' } });
  await using outbox = await Outbox.create({ postgresUrl: postgres.url });
  await outbox.fill(10);
  await writeWal(outbox, 128);
  await outbox.postgres.query('CHECKPOINT');
  expect(await slotOf(outbox)).toMatchObject({ wal_status: 'lost', invalidation_reason: 'wal_removed' });
  const streamer = outbox.stream();
  const { err } = await streamer.failure('OUTBOX_SLOT_INVALID');
  expect(err?.message).toContain('wal_removed');
  await expect(outbox.migrate()).rejects.toMatchObject({ code: 'OUTBOX_SLOT_INVALID' });
  expect(await slotOf(outbox)).toMatchObject({ wal_status: 'lost' });
  expect(streamer.isRunning).toBe(true);
});

test.concurrent('`doctor` says how a database that was restored beside its former self takes the slot over, and then each event is there once', async () => {
  await using outbox = await Outbox.create();
  const { slot } = outbox;
  const streamer = outbox.stream();
  await outbox.fill(5);
  await outbox.untilDelivered(5);
  expect(await streamer.stop()).toBe(0);
  await outbox.fill(3);
  const admin = new Client(withDatabase(outbox.databaseUrl, 'postgres'));
  await admin.connect();
  const quick = { OUTBOX_INSERT_TIMEOUT_MS: '1000', DATABASE_URL: withDatabase(outbox.databaseUrl, `${slot}_new`) };
  // a copy is made of a database that nobody uses
  await admin.query('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1', [slot]);
  await admin.query(`CREATE DATABASE ${slot}_new TEMPLATE ${slot}`);
  const drop = `SELECT pg_drop_replication_slot('${slot}')`;
  const { stdout } = await command(outbox, ['doctor'], quick).done;
  expect(stdout).toContain(`belongs to the database "${slot}"`);
  expect(stdout).toContain('drop the slot there by pg_drop_replication_slot and run `repair` here');
  await outbox.postgres.query(drop);
  const repaired = await command(outbox, ['repair', '--json'], quick).done;
  expect(repaired).toMatchObject({ code: 0 });
  expect(JSON.parse(repaired.stdout)).toMatchObject({ missing: 3, sent: 3 });
  expect(await outbox.delivered()).toEqual({ rows: 8, events: 8 });
  const dropping = new Client(quick.DATABASE_URL);
  await dropping.connect();
  await dropping.query(drop);
  await dropping.end();
  await admin.query(`DROP DATABASE ${slot}_new`);
  await admin.end();
});

test.concurrent('the streamer reports idle_timeout as the reason when Postgres invalidated an unused slot', async () => {
  await using postgres = await startPostgres({ settings: { idle_replication_slot_timeout: '1s' } });
  await using outbox = await Outbox.create({ postgresUrl: postgres.url });
  const streamer = outbox.stream();
  await outbox.fill(10);
  await outbox.untilDelivered(10);
  // Postgres keeps a slot in use; nothing signals that, so the timeout has to pass
  await sleep(1500);
  await outbox.postgres.query('CHECKPOINT');
  expect(await slotOf(outbox)).toMatchObject({ wal_status: 'reserved', active: true });
  expect(await streamer.stop()).toBe(0);
  await outbox.fill(10);
  await eventually('a checkpoint invalidates it', async () => {
    await outbox.postgres.query('CHECKPOINT');
    return (await slotOf(outbox))?.['wal_status'] === 'lost';
  });
  const { err } = await outbox.stream().failure('OUTBOX_SLOT_INVALID');
  expect(err?.message).toContain('idle_timeout');
  expect(await outbox.delivered()).toEqual({ rows: 10, events: 10 });
});

test.concurrent(
  'the streamer’s log and `/readyz` report a slot in danger before it is lost while ClickHouse hangs (invariant 8)',
  { timeout: 180_000 },
  async () => {
    await using postgres = await startPostgres({ settings: { max_slot_wal_keep_size: '256MB', max_wal_size: '64MB' } });
    await using outbox = await Outbox.create({ postgresUrl: postgres.url });
    const { proxy, url } = await Proxy.to(new URL(outbox.clickhouseUrl));
    const port = await onFreePort(0, async (free) => free);
    const streamer = outbox.stream({ CLICKHOUSE_URL: url, OUTBOX_HEALTH_PORT: String(port) });
    await outbox.fill(10);
    await outbox.untilDelivered(10);
    proxy.holdRequests();
    await outbox.fill(10);
    const endangered = eventually(
      'the danger is said',
      async () => {
        await writeWal(outbox, 1);
        // a rate needs time
        await sleep(300);
        return streamer.logs.find(({ err }) => err?.code === 'OUTBOX_SLOT_ENDANGERED');
      },
      120_000,
    );
    const line = await endangered;
    expect(line.level).toBe('error');
    expect(line['runwayMinutes']).toBeLessThan(60);
    expect(await slotOf(outbox)).not.toMatchObject({ wal_status: 'lost' });
    const { slot } = await readiness(port);
    expect(slot?.runwayMinutes).toBeLessThan(60);
    expect(slot?.safeWalBytes).toBeGreaterThan(0);
    proxy.release();
    proxy.cut();
    await outbox.untilDelivered(20);
    await eventually(
      'the danger is over',
      async () => {
        // Postgres recomputes the WAL that a slot needs when it logs the running transactions
        await outbox.postgres.query('SELECT pg_log_standby_snapshot()');
        return streamer.logs.some(({ msg }) => msg === 'the slot is out of danger');
      },
      90_000,
    );
    expect(streamer.logs.filter(({ err }) => err?.code === 'OUTBOX_SLOT_ENDANGERED')).toHaveLength(1);
    await proxy.close();
  },
);

async function readiness(port: number): Promise<ReadinessReport> {
  return new Promise((resolve, reject) => {
    get(
      { host: '127.0.0.1', port, path: '/readyz' },
      (response) => void json(response).then((body) => resolve(body as ReadinessReport), reject),
    ).on('error', reject);
  });
}

test.concurrent(
  'an idle streamer writes hardly any WAL, and lets Postgres remove that of other tables (invariant 2)',
  { timeout: 180_000 },
  async () => {
    await using postgres = await startPostgres();
    await using outbox = await Outbox.create({ postgresUrl: postgres.url });
    const streamer = outbox.stream();
    await outbox.fill(1);
    await outbox.untilDelivered(1);
    await eventually('it is settled', async () => (await outbox.ledger())['pending_token'] === null);
    const {
      rows: [before],
    } = await outbox.postgres.query('SELECT pg_current_wal_lsn() AS lsn');
    // nothing signals that no WAL is written, so time has to pass
    await sleep(5000);
    const {
      rows: [idle],
    } = await outbox.postgres.query('SELECT pg_current_wal_lsn() - $1::pg_lsn AS bytes', [before.lsn]);
    expect(Number(idle.bytes)).toBeLessThan(64 * 1024);
    await outbox.postgres.query('CREATE TABLE other (t text)');
    for (let round = 0; round < 10; round++) {
      await outbox.postgres.query("INSERT INTO other SELECT repeat('x', 1000) FROM generate_series(1, 10000)");
    }
    await eventually(
      'its WAL is let go',
      async () => {
        const { retained, unconfirmed } = (await slotOf(outbox))!;
        return Number(unconfirmed) < 2 * MIB && Number(retained) < 18 * MIB;
      },
      90_000,
    );
    expect(await outbox.delivered()).toEqual({ rows: 1, events: 1 });
    expect(await streamer.stop()).toBe(0);
  },
);
