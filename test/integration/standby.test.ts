import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import { expect, test } from 'vitest';
import { Outbox } from '../support/outbox.ts';
import { Proxy } from '../support/proxy.ts';
import type { Streamer } from '../support/streamer.ts';
import { eventually } from '../support/wait.ts';

const COUNT = 300;
const TERMINATES = 'the holder of the slot gives no sign of life: terminating its connections';
/**
 * More than twice as long as a standby waits for a sign of life. Nothing signals that it leaves the holder alone, so time has
 * to pass.
 */
const BUSY_MS = 12_000;

function hasTerminated(standby: Streamer): boolean {
  return standby.logs.some(({ msg }) => msg === TERMINATES);
}

async function expectOnce(outbox: Outbox, events: number): Promise<void> {
  await outbox.untilDelivered(events);
  const end = await outbox.walEnd();
  await eventually('all is delivered', async () => outbox.applied(end));
  expect(await outbox.delivered()).toEqual({ rows: events, events });
  expect(await outbox.viewed()).toBe(events);
}

interface Cast {
  readonly holder: Streamer;
  readonly standby: Streamer;
  /** Between the holder and Postgres. */
  readonly postgres: Proxy;
  /** Between the holder and ClickHouse. */
  readonly clickhouse: Proxy;
  readonly close: () => Promise<void>;
}

async function begin(outbox: Outbox, environment: Record<string, string> = {}): Promise<Cast> {
  await outbox.addView();
  const { proxy: postgres, url: databaseUrl } = await Proxy.to(new URL(outbox.databaseUrl));
  const { proxy: clickhouse, url: clickhouseUrl } = await Proxy.to(new URL(outbox.clickhouseUrl));
  const holder = outbox.stream({ DATABASE_URL: databaseUrl, CLICKHOUSE_URL: clickhouseUrl, ...environment });
  await holder.attached();
  const standby = outbox.stream(environment);
  await standby.failure('OUTBOX_SLOT_BUSY');
  await outbox.fill(1);
  await outbox.untilDelivered(1);
  await eventually('it is settled', async () => (await outbox.ledger())['pending_token'] === null);
  return {
    holder,
    standby,
    postgres,
    clickhouse,
    close: async () => {
      await Promise.all([postgres.close(), clickhouse.close()]);
    },
  };
}

/** What the holder does when the fault comes: nothing, or it is in the middle of sending an insert. */
const MOMENTS = [
  { moment: 'while idle', inserting: false },
  { moment: 'in the middle of an insert', inserting: true },
];

async function strikeAt(outbox: Outbox, { clickhouse }: Cast, inserting: boolean): Promise<void> {
  if (!inserting) return;
  clickhouse.holdRequests(20_000);
  await outbox.fill(COUNT);
  await eventually('an insert is under way', () => clickhouse.isHolding);
}

test.concurrent.each(MOMENTS)(
  'a standby takes over from a holder killed $moment (invariant 5)',
  async ({ inserting }) => {
    await using outbox = await Outbox.create();
    const cast = await begin(outbox);
    await strikeAt(outbox, cast, inserting);
    await cast.holder.kill();
    await cast.standby.attached();
    if (!inserting) await outbox.fill(COUNT);
    await outbox.fill(COUNT);
    await expectOnce(outbox, 1 + 2 * COUNT);
    expect(hasTerminated(cast.standby)).toBe(false);
    await cast.close();
  },
);

test.concurrent.each(MOMENTS)(
  'a standby takes over from a holder frozen $moment, which is fenced when it wakes (invariant 5)',
  { timeout: 120_000 },
  async ({ inserting }) => {
    await using outbox = await Outbox.create();
    const cast = await begin(outbox);
    const { holder, standby, clickhouse } = cast;
    await strikeAt(outbox, cast, inserting);
    holder.signal('SIGSTOP');
    if (!inserting) await outbox.fill(COUNT);
    await standby.attached();
    expect(hasTerminated(standby)).toBe(true);
    await outbox.fill(COUNT);
    await outbox.untilDelivered(1 + 2 * COUNT);
    const { epoch } = await outbox.ledger();
    // the rest of the half-sent insert reaches ClickHouse
    clickhouse.release();
    holder.signal('SIGCONT');
    await holder.log(({ msg }) => msg === 'standing by', 'standing by');
    await outbox.fill(COUNT);
    await expectOnce(outbox, 1 + 3 * COUNT);
    expect(await outbox.ledger()).toMatchObject({ epoch });
    expect(hasTerminated(holder)).toBe(false);
    // and it takes over when the other one dies
    await standby.kill();
    await outbox.fill(COUNT);
    await expectOnce(outbox, 1 + 4 * COUNT);
    await cast.close();
  },
);

test.concurrent.each(MOMENTS)(
  'a standby takes over from a holder cut off from Postgres $moment (invariant 5)',
  { timeout: 120_000 },
  async ({ inserting }) => {
    await using outbox = await Outbox.create();
    const cast = await begin(outbox);
    const { holder, standby, postgres, clickhouse } = cast;
    await strikeAt(outbox, cast, inserting);
    postgres.holdRequests();
    postgres.holdAnswers();
    if (!inserting) await outbox.fill(COUNT);
    await standby.attached();
    expect(hasTerminated(standby)).toBe(true);
    // the holder could reach ClickHouse all the time
    clickhouse.release();
    await outbox.fill(COUNT);
    await outbox.untilDelivered(1 + 2 * COUNT);
    await holder.failure('OUTBOX_PG_UNREACHABLE');
    postgres.release();
    postgres.cut();
    await holder.log(({ msg }) => msg === 'standing by', 'standing by');
    await outbox.fill(COUNT);
    await expectOnce(outbox, 1 + 3 * COUNT);
    await cast.close();
  },
);

test.concurrent('a holder that was cut off before it asked ClickHouse does not take what its successor delivered for a lost ledger', async () => {
  await using outbox = await Outbox.create();
  const { proxy: postgres, url: databaseUrl } = await Proxy.to(new URL(outbox.databaseUrl));
  const { proxy: clickhouse, url: clickhouseUrl } = await Proxy.to(new URL(outbox.clickhouseUrl));
  clickhouse.holdRequests();
  const holder = outbox.stream({ DATABASE_URL: databaseUrl, CLICKHOUSE_URL: clickhouseUrl });
  await holder.attached();
  postgres.holdRequests();
  postgres.holdAnswers();
  const standby = outbox.stream();
  await outbox.fill(COUNT);
  await outbox.untilDelivered(COUNT);
  clickhouse.release();
  await holder.failure('OUTBOX_PG_UNREACHABLE');
  postgres.release();
  postgres.cut();
  await holder.log(({ msg }) => msg === 'standing by', 'standing by');
  expect(holder.logs.filter(({ err }) => err?.code === 'OUTBOX_LEDGER_BEHIND')).toEqual([]);
  expect(await standby.stop()).toBe(0);
  await Promise.all([postgres.close(), clickhouse.close()]);
});

test.concurrent('a standby with the least privileges leaves a live holder alone, and takes over from a frozen one', async () => {
  await using outbox = await Outbox.create();
  const role = outbox.slot.replace('t_', 'r_');
  await outbox.postgres.query(`CREATE ROLE ${role} LOGIN REPLICATION PASSWORD 'secret'`);
  try {
    await outbox.postgres.query(`GRANT USAGE ON SCHEMA outbox TO ${role}`);
    await outbox.postgres.query(`GRANT SELECT ON outbox.event TO ${role}`);
    await outbox.postgres.query(`GRANT SELECT, UPDATE ON outbox.stream TO ${role}`);
    await outbox.postgres.query(`GRANT SELECT, INSERT, UPDATE, DELETE ON outbox.quarantine TO ${role}`);
    const DATABASE_URL = Object.assign(new URL(outbox.databaseUrl), { username: role, password: 'secret' }).href;
    const holder = outbox.stream({ DATABASE_URL });
    await holder.attached();
    const standby = outbox.stream({ DATABASE_URL });
    await standby.failure('OUTBOX_SLOT_BUSY');
    await sleep(BUSY_MS / 3);
    expect(hasTerminated(standby)).toBe(false);
    // a statement that hangs in the server is no sign that the holder is dead
    const client = new Client(outbox.databaseUrl);
    await client.connect();
    await client.query('BEGIN');
    await client.query('SELECT FROM outbox.stream FOR UPDATE');
    await outbox.fill(COUNT);
    await sleep(BUSY_MS / 2);
    await client.query('COMMIT');
    await client.end();
    await outbox.untilDelivered(COUNT);
    expect(hasTerminated(standby)).toBe(false);
    holder.signal('SIGSTOP');
    await standby.attached();
    expect(hasTerminated(standby)).toBe(true);
    await outbox.fill(COUNT);
    await outbox.untilDelivered(2 * COUNT);
    expect(await outbox.delivered()).toEqual({ rows: 2 * COUNT, events: 2 * COUNT });
    await Promise.all([holder.kill(), standby.kill()]);
    await eventually('the slot is free', async () => {
      const { rowCount } = await outbox.postgres.query(
        'SELECT FROM pg_replication_slots WHERE slot_name = $1 AND active',
        [outbox.slot],
      );
      return rowCount === 0;
    });
  } finally {
    await outbox.postgres.query(`DROP OWNED BY ${role}`);
    await outbox.postgres.query(`DROP ROLE ${role}`);
  }
});

test.concurrent(
  'a standby does not take over while the holder waits for ClickHouse',
  { timeout: 120_000 },
  async () => {
    await using outbox = await Outbox.create();
    const cast = await begin(outbox);
    cast.clickhouse.holdRequests();
    await outbox.fill(COUNT);
    await eventually('an intent', async () => (await outbox.ledger())['pending_token']);
    const { epoch } = await outbox.ledger();
    await sleep(BUSY_MS);
    expect(hasTerminated(cast.standby)).toBe(false);
    cast.clickhouse.release();
    cast.clickhouse.cut();
    await expectOnce(outbox, 1 + COUNT);
    expect(await outbox.ledger()).toMatchObject({ epoch });
    await cast.close();
  },
);

test.each([
  {
    title: 'decodes a huge transaction of another table',
    sql: "INSERT INTO other SELECT repeat('x', 200) FROM generate_series(1, 300000)",
    events: 0,
  },
  {
    title: 'streams a huge transaction of events',
    sql: `INSERT INTO outbox.event (event_type, event_context) SELECT 'test.huge', json_build_object('n', n, 'text', repeat('x', 200)) FROM generate_series(1, 300000) n`,
    events: 300_000,
  },
])('a standby does not take over while the holder $title', { timeout: 240_000 }, async ({ sql, events }) => {
  await using outbox = await Outbox.create();
  const { standby, close } = await begin(outbox);
  await outbox.postgres.query('CREATE TABLE other (t text)');
  const { epoch } = await outbox.ledger();
  const client = new Client(outbox.databaseUrl);
  await client.connect();
  // Postgres spills it to disk while it runs, and decodes it at its commit
  await client.query(sql);
  await client.end();
  await outbox.fill(1);
  await expectOnce(outbox, 2 + events);
  await sleep(BUSY_MS / 3);
  expect(hasTerminated(standby)).toBe(false);
  expect(await outbox.ledger()).toMatchObject({ epoch });
  await close();
});
