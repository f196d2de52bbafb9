import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import { expect, test } from 'vitest';
import { startPostgres, type EmbeddedPostgres } from '../../src/embedded/postgres.ts';
import { command, type Running } from '../support/command.ts';
import { killAt } from '../support/crash-point.ts';
import { Outbox } from '../support/outbox.ts';
import { Proxy } from '../support/proxy.ts';
import { ask, diskSnapshot, promote, STANDBY, startCopy, startStandby } from '../support/standby-server.ts';
import { eventually } from '../support/wait.ts';

/** Short, because after a failover the streamer waits for the longest life of an insert. */
const INSERTS = { OUTBOX_INSERT_TIMEOUT_MS: '1000' };

interface Comparison {
  /** Events of outbox.event. */
  readonly events: number;
  /** Those of them that ClickHouse lacks, or has more than once. */
  readonly wrong: string[];
  /** Events in ClickHouse whose transactions Postgres has lost. */
  readonly extra: number;
  /** Positions that belong to more than one event. */
  readonly reused: number;
}

/** Waits until the streamers of these slots have delivered all of WAL, then compares both sides event by event. */
async function compare(outbox: Outbox, slots: readonly string[] = [outbox.slot]): Promise<Comparison> {
  const end = await outbox.walEnd();
  for (const slot of slots) await eventually('all is delivered', async () => outbox.applied(end, slot), 90_000);
  const { rows } = await outbox.postgres.query<{ id: string }>('SELECT event_id AS id FROM outbox.event');
  const stored = await outbox.select<{ id: string; n: number }>(
    'SELECT toString(event_id) AS id, count() AS n FROM events GROUP BY event_id',
  );
  const [positions] = await outbox.select<{ n: number }>(
    'SELECT count() AS n FROM (SELECT lsn, seq FROM events GROUP BY lsn, seq HAVING uniqExact(event_id) > 1)',
  );
  const counts = new Map(stored.map(({ id, n }) => [id, n]));
  const known = new Set(rows.map(({ id }) => id));
  const wrong = rows.flatMap(({ id }) => (counts.get(id) === 1 ? [] : [`${id}: ${counts.get(id) ?? 0}`]));
  const extra = stored.filter(({ id }) => !known.has(id)).length;
  return { events: rows.length, wrong, extra, reused: positions!.n };
}

/** Emits event after event until it is stopped, whatever happens to the server. Records which ones Postgres confirmed. */
class Producer {
  readonly confirmed: string[] = [];
  #stopped = false;
  readonly #done: Promise<void>;

  constructor(url: string) {
    this.#done = this.#run(url);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#done;
  }

  async #run(url: string): Promise<void> {
    while (!this.#stopped) {
      const client = new Client({ connectionString: url, query_timeout: 5000, connectionTimeoutMillis: 5000 });
      client.on('error', () => undefined);
      try {
        await client.connect();
        while (!this.#stopped) {
          const { rows } = await client.query<{ id: string }>(
            `INSERT INTO outbox.event (event_type, event_context) VALUES ('test.produced', '{"a":1}') RETURNING event_id AS id`,
          );
          this.confirmed.push(rows[0]!.id);
          await sleep(5);
        }
      } catch {
        await sleep(50);
      } finally {
        await client.end().catch(() => undefined);
      }
    }
  }
}

interface Setup extends AsyncDisposable {
  readonly outbox: Outbox;
  readonly primary: EmbeddedPostgres;
  readonly standby: EmbeddedPostgres;
  /** The name that applications and streamer know. */
  readonly name: Proxy;
  /** The standby reaches its primary through it. */
  readonly wal: Proxy;
  /** Promotes the standby and lets the name follow. */
  readonly failOver: () => Promise<void>;
}

async function setUp({ failover = true } = {}): Promise<Setup> {
  await using stack = new AsyncDisposableStack();
  const primary = stack.use(await startPostgres());
  const { proxy: name, url } = await Proxy.to(new URL(primary.url));
  stack.defer(async () => name.close());
  const { proxy: wal, url: walUrl } = await Proxy.to(new URL(primary.url));
  stack.defer(async () => wal.close());
  const outbox = stack.use(await Outbox.create({ postgresUrl: url, failover }));
  const standby = stack.use(await startStandby(primary, walUrl));
  const kept = stack.move();
  return {
    outbox,
    primary,
    standby,
    name,
    wal,
    failOver: async () => {
      await promote(standby);
      name.retarget(new URL(standby.url));
      name.cut();
    },
    [Symbol.asyncDispose]: async () => kept.disposeAsync(),
  };
}

/** Waits until the standby has a copy of the slot that survives a failover. */
async function untilSynced(standby: EmbeddedPostgres, slot: string): Promise<void> {
  await eventually(
    'the slot is synchronised',
    async () => {
      const rows = await ask(
        standby.url,
        'SELECT FROM pg_replication_slots WHERE slot_name = $1 AND synced AND NOT temporary AND invalidation_reason IS NULL',
        [slot],
      );
      return rows.length === 1;
    },
    90_000,
  );
}

async function untilReplayed(standby: EmbeddedPostgres, lsn: string): Promise<void> {
  await eventually('the standby has it', async () => {
    const [answer] = await ask<{ yes: boolean }>(standby.url, 'SELECT pg_last_wal_replay_lsn() >= $1::pg_lsn AS yes', [
      lsn,
    ]);
    return answer!.yes;
  });
}

test.concurrent.each([
  { title: 'the streamer loses nothing where commits and slot wait for the standby', waits: true },
  { title: 'ClickHouse keeps what Postgres loses where nothing waits for the standby', waits: false },
])('after SIGKILL of the primary under load, $title', { timeout: 240_000 }, async ({ waits }) => {
  await using setup = await setUp();
  const { outbox, primary, standby, wal, failOver } = setup;
  if (waits) {
    await ask(primary.url, `ALTER SYSTEM SET synchronized_standby_slots = '${STANDBY}'`);
    await ask(primary.url, `ALTER SYSTEM SET synchronous_standby_names = '${STANDBY}'`);
    await ask(primary.url, 'SELECT pg_reload_conf()');
  }
  const { proxy: sink, url } = await Proxy.to(new URL(outbox.clickhouseUrl));
  const streamer = outbox.stream({ ...INSERTS, CLICKHOUSE_URL: url, OUTBOX_BATCH_MAX_ROWS: '20' });
  await streamer.attached();
  const producers = [new Producer(outbox.databaseUrl), new Producer(outbox.databaseUrl)];
  await outbox.untilDelivered(200);
  await untilSynced(standby, outbox.slot);
  // the standby falls behind; where Postgres waits for it, nothing gets ahead of it, not even the ledger
  if (!waits) {
    wal.holdAnswers();
    const held = await outbox.walEnd();
    await eventually('a commit is settled that the standby does not get', async () => outbox.settledBeyond(held));
  }
  const { events } = await outbox.delivered();
  sink.holdAnswers();
  await eventually('an insert is pending', async () => (await outbox.ledger())['pending_token']);
  wal.holdAnswers();
  const answered = (): number => producers.reduce((sum, producer) => sum + producer.confirmed.length, 0);
  const held = answered();
  await eventually('somebody commits what the standby does not get', async () => {
    const waiting = "SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    return waits ? (await outbox.postgres.query(waiting)).rowCount! > 0 : answered() > held + 10;
  });
  await primary.kill();
  await wal.close();
  await failOver();
  sink.release();
  sink.cut();
  await streamer.failure('OUTBOX_TIMELINE_CHANGED');
  await outbox.untilDelivered(events + 300);
  await Promise.all(producers.map(async (producer) => producer.stop()));
  const { wrong, extra } = await compare(outbox);
  expect(wrong).toEqual([]);
  const { rows } = await outbox.postgres.query<{ id: string }>('SELECT event_id AS id FROM outbox.event');
  const kept = new Set(rows.map(({ id }) => id));
  const lost = producers.flatMap(({ confirmed }) => confirmed.filter((id) => !kept.has(id)));
  expect({ isLost: lost.length > 0, isExtra: extra > 0 }).toEqual({ isLost: !waits, isExtra: !waits });
  expect(await streamer.stop()).toBe(0);
  await sink.close();
});

test.concurrent.each([
  { title: 'knows nothing of the insert', pendingKnown: false },
  { title: 'has the insert as pending', pendingKnown: true },
])(
  'the streamer delivers each event once when the new primary’s ledger is old and $title',
  { timeout: 240_000 },
  async ({ pendingKnown }) => {
    await using setup = await setUp();
    const { outbox, primary, standby, wal, failOver } = setup;
    const { proxy: sink, url } = await Proxy.to(new URL(outbox.clickhouseUrl));
    const environment = { ...INSERTS, CLICKHOUSE_URL: url };
    let streamer = outbox.stream(environment);
    await streamer.attached();
    await outbox.fill(10);
    await outbox.untilDelivered(10);
    await untilSynced(standby, outbox.slot);
    if (pendingKnown) sink.holdRequests();
    else await streamer.stop();
    await outbox.fill(500);
    if (pendingKnown) await eventually('an intent', async () => (await outbox.ledger())['pending_token']);
    await untilReplayed(standby, await outbox.walEnd());
    wal.holdAnswers();
    if (pendingKnown) sink.release();
    else streamer = outbox.stream(environment);
    await outbox.untilDelivered(510);
    await eventually('it is settled', async () => (await outbox.ledger())['pending_token'] === null);
    await primary.kill();
    await wal.close();
    await failOver();
    await streamer.failure('OUTBOX_TIMELINE_CHANGED');
    await outbox.fill(10);
    const { events, wrong, extra } = await compare(outbox);
    expect({ events, wrong, extra }).toEqual({ events: 520, wrong: [], extra: 0 });
    const found = await streamer.log(({ there }) => there !== undefined && there !== 0, 'the read-back');
    expect(found['there']).toBe(500);
    expect((await outbox.ledger())['read_back_below']).toBeNull();
    await sink.close();
  },
);

test.concurrent.each([
  { title: 'before it hands over', isHandedOver: false },
  { title: 'when it has handed over', isHandedOver: true },
])(
  'each event is delivered once when the primary is lost during a `reshard`, $title',
  { timeout: 240_000 },
  async ({ isHandedOver }) => {
    await using setup = await setUp();
    const { outbox, primary, standby, wal, failOver } = setup;
    const { slot, postgres } = outbox;
    const producer = new Producer(outbox.databaseUrl);
    const former = outbox.stream(INSERTS);
    await outbox.untilDelivered(50);
    await untilSynced(standby, slot);
    const env = { OUTBOX_SLOT_FAILOVER: 'on', ...INSERTS };
    const reshard = (): Running => command(outbox, ['reshard', '2'], env);
    const lose = async (): Promise<void> => {
      await untilReplayed(standby, await outbox.walEnd());
      await primary.kill();
      await wal.close();
      await failOver();
    };
    const running = reshard();
    if (isHandedOver) {
      former.signal('SIGSTOP');
      await new Promise<void>((resolve) => running.lines((line) => line.startsWith('handed over') && resolve()));
      // events that only a new share may deliver
      const count = producer.confirmed.length;
      await eventually('more events', () => producer.confirmed.length > count + 20);
      await lose();
      former.signal('SIGCONT');
    } else {
      const handsOver = 'OLD.ends_in IS NULL AND NEW.ends_in IS NOT NULL';
      // it fails then, because it asks the server that is gone
      await killAt(postgres, handsOver, false, lose, 'COMMIT').catch(() => undefined);
    }
    expect((await running.done).code).toBe(1);
    await former.failure('OUTBOX_TIMELINE_CHANGED');

    const again = reshard();
    const shares = [1, 2].map((number) => `${slot}_${number}_of_2`);
    await eventually(
      'the new shares have rows',
      async () => {
        const { rowCount } = await postgres
          .query('SELECT FROM outbox.stream WHERE begins_in IS NOT NULL')
          .catch(() => ({ rowCount: 0 }));
        return rowCount === 2;
      },
      90_000,
    );
    const begin = async (share: string, index: number): Promise<void> => {
      const environment = { ...env, OUTBOX_SHARD: `${index + 1}/2` };
      const { rowCount } = await postgres.query('SELECT FROM pg_replication_slots WHERE slot_name = $1', [share]);
      const made = rowCount === 0 ? await command(outbox, ['repair'], environment).done : { code: 0 };
      expect(made).toMatchObject({ code: 0 });
      outbox.stream(environment);
    };
    await Promise.all(shares.map(begin));
    expect(await again.done).toMatchObject({ code: 0 });
    await producer.stop();
    await outbox.fill(64);
    expect(await compare(outbox, shares)).toMatchObject({ wrong: [], extra: 0 });
  },
);

test.concurrent(
  'the streamer reports that DATABASE_URL names a standby, and streams once it is promoted',
  { timeout: 240_000 },
  async () => {
    await using setup = await setUp();
    const { outbox, primary, standby, failOver } = setup;
    const first = outbox.stream(INSERTS);
    await first.attached();
    await outbox.fill(10);
    await outbox.untilDelivered(10);
    await untilSynced(standby, outbox.slot);
    const { pathname } = new URL(outbox.databaseUrl);
    const streamer = outbox.stream({
      ...INSERTS,
      DATABASE_URL: Object.assign(new URL(standby.url), { pathname }).href,
    });
    await streamer.failure('OUTBOX_PG_STANDBY');
    await outbox.fill(10);
    await outbox.untilDelivered(20);
    expect(await first.stop()).toBe(0);
    await untilReplayed(standby, await outbox.walEnd());
    await primary.kill();
    await failOver();
    await streamer.attached();
    await outbox.fill(10);
    const { events, wrong, extra } = await compare(outbox);
    expect({ events, wrong, extra }).toEqual({ events: 30, wrong: [], extra: 0 });
  },
);

test.concurrent('the streamer reports a slot that a failover lost, and neither it nor `migrate` creates it (invariant 8)', async () => {
  await using setup = await setUp({ failover: false });
  const { outbox, primary, standby, failOver } = setup;
  const streamer = outbox.stream(INSERTS);
  await streamer.attached();
  await outbox.fill(10);
  await outbox.untilDelivered(10);
  await untilReplayed(standby, await outbox.walEnd());
  await primary.kill();
  await failOver();
  await streamer.failure('OUTBOX_SLOT_MISSING');
  await expect(outbox.migrate()).rejects.toMatchObject({ code: 'OUTBOX_SLOT_MISSING' });
  expect(await ask(standby.url, 'SELECT FROM pg_replication_slots')).toEqual([]);
  // the streamer reports a slot that an operator creates by hand, without checking what is missing
  await outbox.fill(10, 'test.skipped');
  await outbox.postgres.query("SELECT pg_create_logical_replication_slot($1, 'pgoutput')", [outbox.slot]);
  await streamer.failure('OUTBOX_SLOT_CHANGED');
  await outbox.fill(10);
  expect(streamer.isRunning).toBe(true);
  expect(await outbox.delivered()).toEqual({ rows: 10, events: 10 });
});

test.concurrent('the streamer reports the missing slot of a restored backup, and rejects one created by hand (invariant 8)', async () => {
  await using primary = await startPostgres();
  const { proxy: name, url } = await Proxy.to(new URL(primary.url));
  await using outbox = await Outbox.create({ postgresUrl: url });
  const streamer = outbox.stream(INSERTS);
  await streamer.attached();
  await outbox.fill(10);
  await outbox.untilDelivered(10);
  await using restored = await startCopy(primary, { withWal: true });
  await primary.kill();
  name.retarget(new URL(restored.url));
  await streamer.failure('OUTBOX_SLOT_MISSING');
  expect(await ask(restored.url, 'SELECT FROM pg_replication_slots')).toEqual([]);
  await outbox.fill(1);
  await outbox.postgres.query("SELECT pg_create_logical_replication_slot($1, 'pgoutput')", [outbox.slot]);
  await streamer.failure('OUTBOX_SLOT_CHANGED');
  expect(await outbox.delivered()).toEqual({ rows: 10, events: 10 });
  await name.close();
});

test.concurrent(
  'the streamer delivers events at reused positions once when a disk is set back on the same timeline',
  { timeout: 240_000 },
  async () => {
    await using primary = await startPostgres();
    await using outbox = await Outbox.create({ postgresUrl: primary.url });
    const fillOneByOne = async (count: number): Promise<void> => {
      for (let n = 0; n < count; n++) await outbox.fill(1);
    };
    let streamer = outbox.stream(INSERTS);
    await outbox.fill(10);
    await outbox.untilDelivered(10);
    expect(await streamer.stop()).toBe(0);
    await primary.stop();
    const snapshot = await diskSnapshot(primary);
    await primary.start();
    await fillOneByOne(100);
    streamer = outbox.stream(INSERTS);
    await outbox.untilDelivered(110);
    await eventually('it is settled', async () => (await outbox.ledger())['pending_token'] === null);
    await Promise.all([primary.kill(), streamer.kill()]);
    await snapshot.putBack();
    await primary.start();
    // before a streamer writes to the ledger, so that the events get the same positions again
    await fillOneByOne(100);
    streamer = outbox.stream(INSERTS);
    await streamer.failure('OUTBOX_LEDGER_BEHIND');
    await fillOneByOne(10);
    const { events, wrong, extra, reused } = await compare(outbox);
    expect({ events, wrong, extra }).toEqual({ events: 120, wrong: [], extra: 100 });
    expect(reused).toBeGreaterThan(0);
    expect(streamer.logs.some(({ err }) => err?.code === 'OUTBOX_TIMELINE_CHANGED')).toBe(false);
  },
);

test.concurrent(
  'the streamer reports the new timeline of a point-in-time restore, and delivers each event once',
  { timeout: 240_000 },
  async () => {
    await using primary = await startPostgres({
      settings: { archive_mode: 'on', archive_command: 'cp %p ../%f.archived', archive_timeout: 0 },
    });
    await using outbox = await Outbox.create({ postgresUrl: primary.url });
    const streamer = outbox.stream(INSERTS);
    await outbox.fill(10);
    await outbox.untilDelivered(10);
    await primary.stop();
    const snapshot = await diskSnapshot(primary);
    await primary.start();
    await outbox.fill(100);
    await outbox.untilDelivered(110);
    await outbox.fill(1);
    const target = await outbox.walEnd();
    await outbox.fill(50, 'test.undone');
    await outbox.untilDelivered(161);
    // the fast stop archives the rest of WAL
    await outbox.postgres.query('SELECT pg_switch_wal()');
    await primary.stop();
    await snapshot.putBack();
    await snapshot.recoverTo(target, 'cp ../%f.archived %p');
    await primary.start();
    await streamer.failure('OUTBOX_TIMELINE_CHANGED');
    await outbox.fill(10);
    const { events, wrong, extra } = await compare(outbox);
    expect({ events, wrong, extra }).toEqual({ events: 121, wrong: [], extra: 50 });
  },
);
