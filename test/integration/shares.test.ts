import { expect, test } from 'vitest';
import { startPostgres } from '../../src/embedded/postgres.ts';
import { examinePostgres } from '../../src/streamer/commands/doctor/postgres.ts';
import { migratePostgres } from '../../src/streamer/commands/migrate-postgres.ts';
import { reshard } from '../../src/streamer/commands/reshard.ts';
import { FlowReporter } from '../../src/streamer/commands/status/reporter.ts';
import { verify, type VerifyOptions } from '../../src/streamer/commands/verify.ts';
import { ALL } from '../../src/streamer/compare/window.ts';
import { readConfig } from '../../src/streamer/config.ts';
import { endForNow } from '../../src/streamer/ledger/hand-over.ts';
import { repair } from '../../src/streamer/repair/repair.ts';
import { proveDelivered } from '../../src/streamer/retention/proof.ts';
import { filterOf, MAX_SHARES, slotOf } from '../../src/streamer/share.ts';
import { Database } from '../../src/streamer/source/database.ts';
import { command } from '../support/command.ts';
import { Outbox } from '../support/outbox.ts';
import { produce, Shared } from '../support/shares.ts';
import { eventually } from '../support/wait.ts';

const VERIFY: VerifyOptions = { window: ALL, waitMs: 60_000, limit: 5 };
const WAIT_MS = 60_000;

test.concurrent('an outbox goes from one slot to two shares and back while producers write: each event is delivered once', async () => {
  // slots that are made wait for transactions of the whole server
  await using postgres = await startPostgres();
  await using outbox = await Outbox.create({ postgresUrl: postgres.url });
  const at = await Shared.create(outbox);
  const { slot } = outbox;
  const [first, second] = [`${slot}_1_of_2`, `${slot}_2_of_2`];
  const said: string[] = [];
  const report = (line: string): void => void said.push(line);
  await using producing = produce(outbox);
  const whole = at.stream('');
  await at.more();

  // two numbers of shares are not made side by side
  await expect(migratePostgres(outbox.databaseUrl, first, report)).rejects.toMatchObject({
    code: 'OUTBOX_SHARD_DIFFERS',
  });
  await reshard(outbox.databaseUrl, { outbox: slot, count: 2, isFailover: false }, WAIT_MS, report);
  expect(said).toContain('handed over: streamers of the new shares may run');
  await whole.failure('OUTBOX_SHARD_DIFFERS');
  await whole.stop();
  const killed = at.stream('1/2');
  const two = at.stream('2/2');
  await at.more();
  await killed.kill();
  const one = at.stream('1/2');
  await at.more();

  const spread = async (): Promise<unknown[]> =>
    outbox.select(
      "SELECT _table AS table, splitByChar('/', source)[2] AS source FROM events_all GROUP BY ALL ORDER BY table",
    );
  await eventually('rows of each slot', async () => (await spread()).length === 3);
  expect(await spread()).toEqual([
    { table: 'events', source: slot },
    { table: 'events_1', source: first },
    { table: 'events_2', source: second },
  ]);
  // each share alone, and all as one
  for (const shard of ['1/2', '2/2'])
    expect(await verify(at.config(shard), VERIFY)).toMatchObject({ identical: true, ofOthers: 0 });
  const all = at.config('', { OUTBOX_CLICKHOUSE_TABLE: 'events_all' });
  expect(await verify(all, VERIFY)).toMatchObject({ identical: true, ofOthers: 0 });
  // what the one slot has delivered is not sent again
  expect(
    await repair(at.config('2/2'), { dryRun: true, newSlot: false, sendAgain: false, moved: false, window: ALL }),
  ).toMatchObject({
    missing: 0,
    quarantined: 0,
  });
  const reporter = new FlowReporter(at.config('1/2'), () => undefined);
  expect(await reporter.report()).toMatchObject({
    // the other share's streamer is none
    streamer: { standbys: 0 },
    shares: [{ slot: first, streaming: true }, { slot: second }],
  });
  await reporter.close();

  // killed when it has handed over: run again, it goes on
  const killing = command(outbox, ['reshard', '1']);
  await new Promise<void>((resolve) => killing.lines((line) => line.startsWith('handed over') && resolve()));
  killing.kill();
  await killing.done;
  await reshard(outbox.databaseUrl, { outbox: slot, count: 1, isFailover: false }, WAIT_MS, report);
  for (const streamer of [one, two]) {
    await streamer.failure('OUTBOX_SHARD_DIFFERS');
    await streamer.stop();
  }
  at.stream('');
  await at.more();
  const since = await verify(at.config(''), VERIFY);
  expect(since).toMatchObject({ identical: true });
  expect(since.ofFormers).toBeGreaterThan(0);
  const former = { ...VERIFY, withFormers: true };
  expect(await verify(all, former)).toMatchObject({ identical: true, ofFormers: 0 });
  await outbox.clickhouse.command({ query: 'RENAME TABLE events_1 TO lost' });
  // what the slot delivers is there, and nothing is claimed of the rest
  const told = await command(outbox, ['verify'], at.env('')).done;
  expect(told).toMatchObject({ code: 0, stdout: expect.stringContaining('nothing is proved of the others') });
  expect(told.stdout).toMatch(/[\d,]+ events were not compared: .* `verify --former`/);
  const repaired = await command(outbox, ['repair', '--dry-run'], at.env('')).done;
  expect(repaired.stdout).toContain('not compared');
  expect(await verify(all, former)).toMatchObject({ identical: false, missing: expect.toSatisfy(Boolean) });
  await outbox.clickhouse.command({ query: 'RENAME TABLE lost TO events_1' });
  // as docs/clusters.md says how what former shares have delivered comes again
  const [{ id }] = (await outbox.select('SELECT toString(event_id) AS id FROM events_1 LIMIT 1')) as [{ id: string }];
  await outbox.clickhouse.command({ query: `DELETE FROM events_1 WHERE event_id = '${id}'` });
  expect(await verify(all, former)).toMatchObject({ missing: 1, examples: [{ eventId: id }] });
  const columns =
    'event_id, event_type, event_context, event_date_time, environment, metadata_version, subject, traceparent, tracestate';
  await outbox.postgres.query(`WITH lost AS (DELETE FROM outbox.event WHERE event_id IN ('${id}') RETURNING *)
    INSERT INTO outbox.event (${columns}) SELECT ${columns} FROM lost`);
  expect(await verify(all, former)).toMatchObject({ identical: true });
  const committed = await producing.stop();
  await eventually('all events', async () => (await at.counts()).events >= committed, 60_000);
  expect(await at.counts()).toEqual({ rows: committed, events: committed });
  const { rows } = await outbox.postgres.query('SELECT slot_name AS slot FROM pg_replication_slots');
  expect(rows).toEqual([{ slot }]);

  // as a reshard leaves it that is killed before it hands over, and is given up
  const db = await Database.connect(outbox.databaseUrl, {}, () => undefined);
  await endForNow(db, [slot]);
  await db.close();
  const halted = new FlowReporter(at.config(''), () => undefined);
  expect((await halted.report()).reasons).toContainEqual({
    code: 'OUTBOX_SHARD_UNFINISHED',
    detail: `no slot delivers what comes behind the end of ${slot}`,
  });
  await halted.close();
  await outbox.fill(1);
  await reshard(outbox.databaseUrl, { outbox: slot, count: 1, isFailover: false }, WAIT_MS, report);
  await eventually('the one slot goes on', async () => (await at.counts()).events === committed + 1, 60_000);
});

test.concurrent('each id is in exactly one share, and a share without its slot or its filter is told', async () => {
  await using postgres = await startPostgres();
  await using outbox = await Outbox.create({ postgresUrl: postgres.url, migrated: false });
  const at = new Map(['1/2', '2/2'].map((shard) => [shard, `${outbox.slot}_${shard[0]}_of_2`]));
  await migratePostgres(outbox.databaseUrl, at.get('2/2')!, () => undefined);
  const ids = `SELECT gen_random_uuid() AS event_id FROM generate_series(1, 500)
               UNION SELECT lpad(to_hex(n), 32, '0')::uuid FROM generate_series(0, 500) n`;
  for (let count = 2; count <= MAX_SHARES; count++) {
    const shares = Array.from({ length: count }, (_, index) => filterOf({ outbox: '', number: index + 1, count }));
    const { rows } = await outbox.postgres.query(
      `SELECT count(*)::int AS n FROM (${ids}) AS e WHERE (${shares.map((filter) => `${filter}::int`).join(' + ')}) <> 1`,
    );
    expect(rows).toEqual([{ n: 0 }]);
  }
  const environment = {
    DATABASE_URL: outbox.databaseUrl,
    CLICKHOUSE_URL: outbox.clickhouseUrl,
    OUTBOX_SLOT: outbox.slot,
  };
  const config = readConfig({ ...environment, OUTBOX_SHARD: '1/2' });
  const told = async (): Promise<unknown> =>
    (await examinePostgres(config)).filter(({ id }) => /\.(shares|publication)$/.test(id)).map(({ level }) => level);
  expect(await told()).toEqual(['ok', 'ok']);

  // a failover before the first streamer is one, too
  expect((await outbox.postgres.query('SELECT timeline FROM outbox.stream')).rows).toEqual([
    { timeline: 1 },
    { timeline: 1 },
  ]);
  const db = await Database.connect(outbox.databaseUrl, {}, () => undefined);
  await outbox.postgres.query('CREATE TABLE kept AS SELECT * FROM outbox.stream WHERE slot_name = $1', [at.get('2/2')]);
  await outbox.postgres.query('DELETE FROM outbox.stream WHERE slot_name = $1', [at.get('2/2')]);
  expect(await told()).toEqual(['ok', 'error']);
  const reporter = new FlowReporter(config, () => undefined);
  expect((await reporter.report()).reasons).toContainEqual({
    code: 'OUTBOX_PG_NOT_MIGRATED',
    detail: expect.stringContaining(`no row for ${at.get('2/2')}`),
  });
  await reporter.close();
  // a retention now would remove what is in no stream
  expect(await proveDelivered(db, 1, 0, () => true)).toMatchObject({ reason: expect.stringContaining('has no row') });
  await db.close();
  await outbox.postgres.query('INSERT INTO outbox.stream SELECT * FROM kept');

  const other = filterOf({ outbox: '', number: 1, count: 3 });
  await outbox.postgres.query(`ALTER PUBLICATION outbox_1_of_2 SET TABLE outbox.event WHERE ${other}`);
  expect(await told()).toEqual(['error', 'ok']);
  const beside = await examinePostgres(readConfig({ ...environment, OUTBOX_SHARD: '2/2' }));
  expect(beside.find(({ id, level }) => id === 'postgres.shares' && level === 'error')?.found).toContain(
    'does not carry the events of its share; its row filter',
  );
  await outbox.stream({ OUTBOX_SHARD: '1/2' }).failure('OUTBOX_PUBLICATION_MISSING');
  expect(slotOf({ outbox: outbox.slot, number: 2, count: 2 })).toBe(at.get('2/2'));
});
