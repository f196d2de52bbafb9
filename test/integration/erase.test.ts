import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { TABLE_DELIVERED, TABLE_WITNESSED } from '../../src/streamer/compare/digest.ts';
import { ERASE_LOCK } from '../../src/streamer/source/advisory-lock.ts';
import { CHILD_ENVIRONMENT } from '../support/child-environment.ts';
import { command } from '../support/command.ts';
import { killAt, type Held } from '../support/crash-point.ts';
import { Outbox } from '../support/outbox.ts';
import type { Streamer } from '../support/streamer.ts';
import { eventually } from '../support/wait.ts';

/** What may still be under way is waited for no longer than that. */
const QUICK = { OUTBOX_INSERT_TIMEOUT_MS: '1000' };

let shared: Outbox;
let streamer: Streamer;

beforeAll(async () => {
  shared = await Outbox.create();
  await shared.addView();
  streamer = shared.stream();
});
afterAll(async () => shared[Symbol.asyncDispose]());

async function emit(outbox: Outbox, subject: string, count: number, type = 'test.erased'): Promise<void> {
  await outbox.postgres.query(
    `INSERT INTO outbox.event (event_type, subject, event_context) SELECT $1, $2, json_build_object('of', $2::text, 'n', n) FROM generate_series(1, $3::int) n`,
    [type, subject, count],
  );
}

/** Rows of a subject in each place, masked ones included. */
async function left(outbox: Outbox, subject: string): Promise<{ outbox: number; quarantine: number; table: number }> {
  const { rows } = await outbox.postgres.query<{ outbox: number; quarantine: number }>(
    `SELECT (SELECT count(*)::int FROM outbox.event WHERE subject = $1) AS outbox, (SELECT count(*)::int FROM outbox.quarantine WHERE subject = $1) AS quarantine`,
    [subject],
  );
  const [table] = await outbox.select<{ n: number }>(
    `SELECT count() AS n FROM events WHERE subject = '${subject}' SETTINGS apply_deleted_mask = 0`,
  );
  return { ...rows[0]!, table: table!.n };
}

async function untilThere(outbox: Outbox, subject: string, rows: number): Promise<void> {
  await eventually(`${rows} rows of ${subject}`, async () => (await left(outbox, subject)).table === rows);
}

/** Puts an event of a subject aside, as the streamer does with one that ClickHouse rejects, and takes it out of the table. */
async function quarantine(outbox: Outbox, subject: string): Promise<void> {
  await outbox.postgres.query(
    `INSERT INTO outbox.quarantine (slot_name, source, lsn, seq, event_id, event_type, event_date_time, environment, event_context, metadata_version, subject,
       committed_at, trace_id, span_id, recorded_at, recorded_by, reason)
     SELECT slot_name, source, '0/1', 1, gen_random_uuid(), 'test.rejected', now(), '', '{}', 1, $1, now(), '', '', now(), 'x', 'a test' FROM outbox.stream`,
    [subject],
  );
}

const ERASER = new URL('../support/eraser.ts', import.meta.url).pathname;
const ERASE = ['--reason', 'request 123', '--yes', '--json'];

interface Erased {
  found: { outbox: number; quarantine: number; clickhouse: number; ofOthers: number; fed: string[] };
  erased: { erasure: string; outbox: number; events: number; tombstones: string; newer: number };
}

async function erase(args: string[], environment = {}): Promise<Erased & { code: number | null; stderr: string }> {
  const { code, stdout, stderr } = await command(shared, ['erase', ...args], { ...QUICK, ...environment }).done;
  return { code, stderr, ...(stdout === '' ? {} : JSON.parse(stdout)) } as Erased & {
    code: number | null;
    stderr: string;
  };
}

test('erase removes a subject from everywhere, and repair and verify find nothing of it', async () => {
  await emit(shared, 'person/1', 3);
  await emit(shared, 'person/2', 2);
  await untilThere(shared, 'person/1', 3);
  // a row of an insert that is not settled must not be removed by hand
  await eventually('all is settled', async () => (await shared.ledger())['pending_lsn'] === null);
  // what Postgres has removed, what is in quarantine, what somebody has masked, and what is not delivered yet
  await shared.postgres.query(
    "DELETE FROM outbox.event WHERE ctid = (SELECT min(ctid) FROM outbox.event WHERE subject = 'person/1')",
  );
  await quarantine(shared, 'person/1');
  await shared.clickhouse.command({ query: "DELETE FROM events WHERE subject = 'person/1' AND event_context.n = 2" });
  const digests = await shared.select<{ d: string }>(
    `SELECT hex(concat(${TABLE_WITNESSED}, ${TABLE_DELIVERED})) AS d FROM events WHERE subject = 'person/1' ORDER BY d SETTINGS apply_deleted_mask = 0`,
  );

  const dry = await erase(['--subject', 'person/1', '--dry-run', '--json']);
  expect(dry).toMatchObject({
    code: 0,
    erased: null,
    found: { outbox: 2, quarantine: 1, clickhouse: 3, fed: [expect.stringContaining('.counts')] },
  });
  expect(await left(shared, 'person/1')).toEqual({ outbox: 2, quarantine: 1, table: 3 });

  await streamer.kill();
  await emit(shared, 'person/1', 2);
  streamer = shared.stream();
  await streamer.attached();
  const { code, erased } = await erase(['--subject', 'person/1', ...ERASE]);
  expect({ code, ...erased }).toMatchObject({ code: 0, outbox: 4, quarantine: 1, events: 5, newer: 0 });
  expect(await left(shared, 'person/1')).toEqual({ outbox: 0, quarantine: 0, table: 0 });
  expect(await left(shared, 'person/2')).toMatchObject({ outbox: 2, table: 2 });

  const tombs = await shared.select<{ d: string }>(
    'SELECT hex(concat(witnessed, delivered)) AS d FROM events_erased FINAL ORDER BY d',
  );
  expect(tombs.map(({ d }) => d)).toEqual(expect.arrayContaining(digests.map(({ d }) => d)));
  const { rows } = await shared.postgres.query(
    'SELECT id, filter, reason, events::int, tombstones, ended_at IS NOT NULL AS ended FROM outbox.erasure',
  );
  expect(rows).toMatchObject([
    { id: erased.erasure, reason: 'request 123', events: 5, tombstones: erased.tombstones, ended: true },
  ]);
  expect(JSON.stringify(rows)).not.toContain('person');
  expect(await shared.select('SELECT erasure, reason, events, tombstones, filter FROM events_erasures FINAL')).toEqual([
    { erasure: rows[0].id, reason: 'request 123', events: 5, tombstones: erased.tombstones, filter: rows[0].filter },
  ]);
  // an erase of what is gone changes nothing
  expect(await erase(['--subject', 'person/1', ...ERASE])).toMatchObject({ code: 0, erased: null });
  // what ClickHouse keeps of finished mutations names nobody
  expect(
    JSON.stringify(
      await shared.select(
        "SELECT command FROM system.mutations WHERE database = currentDatabase() AND command LIKE '%IN PARTITION%'",
      ),
    ),
  ).not.toContain('person');

  expect(await command(shared, ['verify']).done).toMatchObject({ code: 0 });
});

interface Step {
  readonly name: string;
  readonly table?: string;
  readonly held?: Held;
  readonly condition?: string;
  readonly commits?: boolean;
  /** What is half erased then is not sent again. */
  readonly repairs?: true;
}

/** Each write of an erase, held until it is killed: one that is lost, or done without it. Without a table, the mutation in ClickHouse. */
const STEPS: readonly Step[] = [
  { name: 'begins', table: 'outbox.erasure', held: 'INSERT', condition: 'true', commits: false },
  { name: 'has begun', table: 'outbox.event', held: 'DELETE', condition: 'true', commits: false },
  {
    name: 'has removed from the outbox',
    table: 'outbox.erasure',
    held: 'UPDATE',
    condition: 'NEW.ended_at IS NULL',
    commits: false,
    repairs: true,
  },
  { name: 'removes from quarantine', table: 'outbox.quarantine', held: 'DELETE', condition: 'true', commits: true },
  { name: 'has left tombstones', repairs: true },
  { name: 'ends', table: 'outbox.erasure', held: 'UPDATE', condition: 'NEW.ended_at IS NOT NULL', commits: false },
  { name: 'has ended', table: 'outbox.erasure', held: 'COMMIT', condition: 'NEW.ended_at IS NOT NULL', commits: true },
];

/** `npm run test:matrix` kills at each of them. */
const isAll = process.env['OUTBOX_TEST_KILLS'] === 'all';

test.concurrent.each(STEPS.filter(({ repairs }) => isAll || repairs))(
  'an erase that is killed when it $name is ended by the next one, and nothing comes back',
  { timeout: 60_000 },
  async ({ table, held, condition, commits, repairs }) => {
    await using own = await Outbox.create();
    await own.stream().attached();
    await emit(own, 'person/1', 2);
    await quarantine(own, 'person/1');
    await untilThere(own, 'person/1', 2);
    const running = erasing(own, 'person/1');
    const exited = once(running, 'exit');
    const kill = (): void => void running.kill('SIGKILL');
    if (table === undefined) await killAtMutation(own, kill);
    else await killAt(own.postgres, condition!, commits!, kill, held, table);
    await exited;

    const repaired = repairs && (await command(own, ['repair', '--json'], QUICK).done);
    expect(JSON.parse(repaired?.stdout ?? '{"missing":0}')).toMatchObject({ missing: 0 });
    expect(await once(erasing(own, 'person/1'), 'exit')).toEqual([0, null]);
    expect(await left(own, 'person/1')).toEqual({ outbox: 0, quarantine: 0, table: 0 });
    const { rows } = await own.postgres.query('SELECT id::text AS id, events::int AS n FROM outbox.erasure');
    expect(rows).toEqual([{ id: expect.any(String), n: 2 }]);
    expect(await own.select('SELECT erasure AS id, count() AS n FROM events_erased FINAL GROUP BY id')).toEqual(rows);
    expect(await own.select('SELECT erasure AS id, events AS n FROM events_erasures FINAL')).toEqual(rows);
  },
);

function erasing(outbox: Outbox, subject: string): ChildProcess {
  const env = {
    ...CHILD_ENVIRONMENT,
    DATABASE_URL: outbox.databaseUrl,
    CLICKHOUSE_URL: outbox.clickhouseUrl,
    OUTBOX_SLOT: outbox.slot,
  };
  return spawn(process.execPath, [ERASER, subject], { env, stdio: 'inherit' });
}

/** Kills while ClickHouse writes parts again, which it is kept from. */
async function killAtMutation(outbox: Outbox, kill: () => void): Promise<void> {
  await outbox.clickhouse.command({ query: 'SYSTEM STOP MERGES events' });
  await eventually('a mutation', async () => {
    const open = await outbox.select(
      "SELECT 1 FROM system.mutations WHERE database = currentDatabase() AND table = 'events' AND NOT is_done",
    );
    return open.length > 0;
  });
  kill();
  await outbox.clickhouse.command({ query: 'SYSTEM START MERGES events' });
}

test('erase refuses before it changes anything: no condition, a hold, no streamer, and who works on the same events', async () => {
  await emit(shared, 'held/1', 1, 'audit.kept');
  await untilThere(shared, 'held/1', 1);
  const args = ['--subject', 'held/1', ...ERASE];
  for (const [given, word] of [
    [[...ERASE], 'Give --subject, --event-id or --type'],
    [['--environment', 'x', ...ERASE], 'Give --subject, --event-id or --type'],
    [['--event-id', '7', ...ERASE], '--event-id must be a UUID'],
    [['--subject', '', ...ERASE], '--subject must not be empty'],
    [['--subject', 'held/1', '--yes'], 'Say why with --reason'],
  ] as const)
    expect(await erase([...given])).toMatchObject({ code: 2, stderr: expect.stringContaining(word) });

  const held = await erase(args, { OUTBOX_CLICKHOUSE_RETENTION: 'type=audit.*:forever' });
  expect(held).toMatchObject({ code: 1, stderr: expect.stringContaining('OUTBOX_ERASE_HELD') });

  const client = await shared.postgres.connect();
  await client.query('SELECT pg_advisory_lock_shared($1)', [ERASE_LOCK]);
  expect(await erase(args)).toMatchObject({ code: 1, stderr: expect.stringContaining('OUTBOX_ERASE_BUSY') });
  await client.query('SELECT pg_advisory_unlock_shared($1), pg_advisory_lock($1)', [ERASE_LOCK]);
  expect(await command(shared, ['verify']).done).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('OUTBOX_ERASE_BUSY'),
  });
  client.release(true);

  await streamer.kill();
  expect(await erase(args)).toMatchObject({ code: 1, stderr: expect.stringContaining('no streamer holds it') });
  expect(await left(shared, 'held/1')).toMatchObject({ outbox: 1, table: 1 });
  // the last event that was delivered may be erased, and is not missed by the next streamer
  streamer = shared.stream();
  await streamer.attached();
  expect(await erase(args)).toMatchObject({ code: 0, erased: { outbox: 1, events: 1 } });
  await streamer.stop();
  streamer = shared.stream();
  await streamer.attached();
  await emit(shared, 'after/1', 1);
  await untilThere(shared, 'after/1', 1);
  expect(streamer.output).not.toContain('OUTBOX_LEDGER_AHEAD');
});
