import { Pool } from 'pg';
import { expect, test } from 'vitest';
import { startPostgres } from '../../src/embedded/postgres.ts';
import { command } from '../support/command.ts';
import { Outbox } from '../support/outbox.ts';
import { Streamer } from '../support/streamer.ts';
import { eventually } from '../support/wait.ts';

const QUICK = { OUTBOX_INSERT_TIMEOUT_MS: '1000' };

interface Place {
  readonly outbox: Outbox;
  readonly stream: (shard: string, table?: string) => Streamer;
  readonly run: (args: string[], environment?: Record<string, string>) => Promise<Ran>;
}

interface Ran {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A Postgres of its own: slots that are made wait for the transactions of all databases. Each share has a table of its own. */
async function place(outbox: Outbox): Promise<Place> {
  const tables = ['events_1', 'events_2', 'events_3'];
  for (const table of tables) await outbox.clickhouse.command({ query: `CREATE TABLE ${table} AS events` });
  await outbox.clickhouse.command({
    query: `CREATE TABLE events_all AS events ENGINE = Merge(currentDatabase(), '^events(_[123])?$')`,
  });
  const of = (shard: string): Record<string, string> => ({
    OUTBOX_SHARD: shard,
    OUTBOX_CLICKHOUSE_TABLE: shard === '' ? 'events' : `events_${shard[0]}`,
    ...QUICK,
  });
  return {
    outbox,
    stream: (shard) => outbox.stream(of(shard)),
    run: async (args, environment = {}) =>
      command(outbox, args, { ...of(environment['OUTBOX_SHARD'] ?? ''), ...environment }).done,
  };
}

async function counts({ outbox }: Place): Promise<{ rows: number; events: number }> {
  const [found] = await outbox.select<{ rows: number; events: number }>(
    'SELECT count() AS rows, uniqExact(event_id) AS events FROM events_all',
  );
  return found!;
}

async function untilAll(at: Place, count: number): Promise<void> {
  await eventually(`${count} events`, async () => (await counts(at)).events >= count, 60_000);
}

/** Writes events until it is stopped, in transactions with savepoints of which some are rolled back; returns how many were committed. */
function producers(outbox: Outbox, howMany: number): { stop: () => Promise<number> } & AsyncDisposable {
  const pool = new Pool({ connectionString: outbox.databaseUrl, max: howMany });
  let isOver = false;
  const write = async (): Promise<number> => {
    let committed = 0;
    const client = await pool.connect();
    for (let n = 0; !isOver; n++) {
      await client.query(
        `BEGIN; INSERT INTO outbox.event (event_type, event_context) VALUES ('test.shared', '{}');
         SAVEPOINT one; INSERT INTO outbox.event (event_type, event_context) VALUES ('test.shared', '{}'); RELEASE one;
         SAVEPOINT two; INSERT INTO outbox.event (event_type, event_context) VALUES ('test.undone', '{}'); ROLLBACK TO two;
         ${n % 10 === 9 ? 'ROLLBACK' : 'COMMIT'}`,
      );
      if (n % 10 !== 9) committed += 2;
    }
    client.release();
    return committed;
  };
  const writing = Promise.all(Array.from({ length: howMany }, write));
  const stop = async (): Promise<number> => {
    isOver = true;
    return (await writing).reduce((sum, each) => sum + each, 0);
  };
  return {
    stop,
    [Symbol.asyncDispose]: async () => {
      await stop();
      await pool.end();
    },
  };
}

test.concurrent('two shares deliver each event once, into the table of its share, also after kill -9', async () => {
  await using postgres = await startPostgres();
  await using outbox = await Outbox.create({ postgresUrl: postgres.url, migrated: false });
  const early = await command(outbox, ['migrate'], { OUTBOX_SHARD: '2/2' }).done;
  expect(early).toMatchObject({ code: 0 });
  const at = await place(outbox);
  const other = await at.run(['migrate'], { OUTBOX_SHARD: '1/3' });
  expect(other.stderr).toContain('OUTBOX_SHARD_DIFFERS');
  const wrong = at.stream('1/3');
  await wrong.failure('OUTBOX_SHARD_DIFFERS');
  const whole = at.stream('');
  await whole.failure('OUTBOX_SHARD_DIFFERS');
  const first = at.stream('1/2');
  at.stream('2/2');
  await outbox.fill(500);
  await untilAll(at, 500);
  await using producing = producers(outbox, 3);
  await eventually('more events', async () => (await counts(at)).events > 600);
  await first.kill();
  at.stream('1/2');
  await eventually('more events', async () => (await counts(at)).events > 900);
  const committed = 500 + (await producing.stop());
  await untilAll(at, committed);
  expect(await counts(at)).toEqual({ rows: committed, events: committed });
  const spread = await outbox.select<{ table: string; source: string; n: number }>(
    'SELECT _table AS table, source, count() AS n FROM events_all GROUP BY ALL ORDER BY table',
  );
  expect(spread.map(({ table, source }) => [table, source.split('/')[1]])).toEqual([
    ['events_1', `${outbox.slot}_1_of_2`],
    ['events_2', `${outbox.slot}_2_of_2`],
  ]);
  for (const shard of ['1/2', '2/2']) {
    const { code, stdout } = await at.run(['verify', '--json'], { OUTBOX_SHARD: shard });
    expect(JSON.parse(stdout)).toMatchObject({ identical: true, postgres: spread[Number(shard[0]) - 1]!.n });
    expect(code).toBe(0);
  }
  const one = await at.run(['verify', '--json'], { OUTBOX_CLICKHOUSE_TABLE: 'events_all' });
  expect(JSON.parse(one.stdout)).toMatchObject({ identical: true, postgres: committed, clickhouse: committed });
  const status = await at.run(['status', '--json'], { OUTBOX_SHARD: '1/2' });
  expect(JSON.parse(status.stdout)).toMatchObject({
    flowing: true,
    shares: [
      { slot: `${outbox.slot}_1_of_2`, streaming: true },
      { slot: `${outbox.slot}_2_of_2`, streaming: true },
    ],
  });
});

test.concurrent('`reshard` moves an outbox from one slot to two shares, to three and back, while producers write', async () => {
  await using postgres = await startPostgres({ settings: { max_replication_slots: 20, max_wal_senders: 20 } });
  await using outbox = await Outbox.create({ postgresUrl: postgres.url });
  const at = await place(outbox);
  let former = [at.stream('')];
  await outbox.fill(100);
  await untilAll(at, 100);
  await using producing = producers(outbox, 3);
  let goal = 150;
  for (const count of [2, 3, 1]) {
    await eventually('more events', async () => (await counts(at)).events > goal);
    const resharding = command(outbox, ['reshard', String(count)]);
    const handedOver = new Promise<void>((resolve) =>
      resharding.lines((line) => line.startsWith('handed over') && resolve()),
    );
    // kill -9 in the middle, once: it goes on
    if (count === 3) {
      await handedOver;
      resharding.kill();
      await resharding.done;
      expect(await at.run(['reshard', '2'])).toMatchObject({ code: 1, stderr: expect.stringContaining('reshard 3') });
      expect(await at.run(['reshard', '3'])).toMatchObject({ code: 0 });
    } else expect(await resharding.done).toMatchObject({ code: 0 });
    for (const streamer of former) await streamer.failure('OUTBOX_SHARD_DIFFERS');
    await Promise.all(former.map((streamer) => streamer.stop()));
    former = count === 1 ? [at.stream('')] : Array.from({ length: count }, (_, n) => at.stream(`${n + 1}/${count}`));
    goal = (await counts(at)).events + 100;
    await eventually('events of the new shares', async () => (await counts(at)).events > goal, 60_000);
    const shards = count === 1 ? [''] : Array.from({ length: count }, (_, n) => `${n + 1}/${count}`);
    for (const shard of shards) {
      const verified = await at.run(['verify', '--json'], { OUTBOX_SHARD: shard });
      expect(JSON.parse(verified.stdout)).toMatchObject({ identical: true });
    }
  }
  const committed = 100 + (await producing.stop());
  await untilAll(at, committed);
  expect(await counts(at)).toEqual({ rows: committed, events: committed });
  const { rows } = await outbox.postgres.query('SELECT slot_name FROM pg_replication_slots ORDER BY 1');
  expect(rows).toEqual([{ slot_name: outbox.slot }]);
});
