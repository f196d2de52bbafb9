import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { emitEvent } from '../../src/app/index.ts';
import { formatLsn } from '../../src/lsn.ts';
import { Comparison, deliveredSnapshot } from '../../src/streamer/compare/comparison.ts';
import { MICROSECONDS } from '../../src/streamer/clickhouse/event-time.ts';
import type { Bucket } from '../../src/streamer/compare/hours.ts';
import { OutboxSnapshot, SNAPSHOT_PARAMETERS } from '../../src/streamer/compare/outbox.ts';
import { ALL } from '../../src/streamer/compare/window.ts';
import { readConfig } from '../../src/streamer/config.ts';
import { ClickHouse } from '../../src/streamer/clickhouse/client.ts';
import { verify } from '../../src/streamer/commands/verify.ts';
import type { VerifyReport } from '../../src/streamer/commands/verify-report.ts';
import { Database } from '../../src/streamer/source/database.ts';
import { startPostgres } from '../../src/embedded/postgres.ts';
import { command } from '../support/command.ts';
import { Outbox } from '../support/outbox.ts';

const KINDS = { missing: 0, double: 0, altered: 0, extra: 0, quarantined: 0, discarded: 0, expired: 0 };
const NOTHING = { ...KINDS, mistyped: 0, identical: true };

function environment(outbox: Outbox): Record<string, string> {
  return { DATABASE_URL: outbox.databaseUrl, CLICKHOUSE_URL: outbox.clickhouseUrl, OUTBOX_SLOT: outbox.slot };
}

/** Nothing but what it does. */
const ONLY_PROGRESS = /^(.* so far\n)*$/;

const PATIENT = { waitMs: 60_000 };

/** Compares, and says which steps that took. It does not wait unless asked to: the test knows that all is delivered. */
async function compare(
  outbox: Outbox,
  { waitMs = 0, limit = 20 }: { waitMs?: number; limit?: number } = {},
): Promise<VerifyReport & { steps: string[] }> {
  const steps = new Set<string>();
  const options = { window: ALL, waitMs, limit, json: true };
  const report = await verify(readConfig(environment(outbox)), options, ({ step }) => steps.add(step));
  return { ...report, steps: [...steps] };
}

async function cli(outbox: Outbox, args: string[], more: Record<string, string> = {}) {
  return command(outbox, ['verify', ...args], more).done;
}

/** An outbox whose streamer has delivered `count` events; the n-th has the id 00000000-0000-0000-0000-<n> and the type n. */
async function delivered(count: number): Promise<Outbox> {
  const outbox = await Outbox.create();
  await outbox.stream().attached();
  await outbox.postgres.query(
    `INSERT INTO outbox.event (event_id, event_type, event_context)
     SELECT lpad(n::text, 32, '0')::uuid, n, json_build_object('canary', n) FROM generate_series(0, $1::int - 1) n`,
    [count],
  );
  await outbox.untilDelivered(count);
  return outbox;
}

const idOf = (n: number): string => `00000000-0000-0000-0000-${String(n).padStart(12, '0')}`;

async function change(outbox: Outbox, ...statements: string[]): Promise<void> {
  for (const query of statements)
    await outbox.clickhouse.command({
      query,
      clickhouse_settings: { mutations_sync: '2', lightweight_deletes_sync: '2', async_insert: 0 },
    });
}

/** Copies rows of ClickHouse, with some columns replaced. */
const copyOf = (where: string, changed: string): string =>
  `INSERT INTO events SELECT * REPLACE (${changed}) FROM (SELECT * FROM events WHERE ${where})`;

const named = (report: VerifyReport, kind: string): string[] =>
  report.examples.filter((example) => example.kind === kind).map(({ eventId }) => eventId);

const ODD_CONTEXTS = [
  '{"a":1,"a":2}',
  '{"n":123456789012345678901234567890}',
  ' {"a" : [1 ,2,\t3]} ',
  '{"lone":"\\ud800"}',
  '{"nul":"\\u0000"}',
  '{"ünï\u00a0":"🎉\u2028\ufeff"}',
  `{"long":"${'ü'.repeat(500_000)}"}`,
];
const ODD_DATES = [
  'infinity',
  '-infinity',
  '4713-01-01 BC',
  '294276-12-31',
  '1900-01-01 00:00:00+00',
  '2299-12-31 23:59:59.999999+00',
  '1969-12-31 23:59:59.999999+00',
  '2024-02-29 23:59:59.123456+00',
];
const TRACE = '0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331';
const ODD_TRACEPARENTS = [`00-${TRACE}-01`, `cc-${TRACE}-01-more`, `00-${TRACE}`, '', 'ü'.repeat(55), `üü${TRACE}-01`];

test.concurrent('`verify` computes the same digests on both servers for odd contexts, dates, traces, texts and repeated ids', async () => {
  await using outbox = await Outbox.create();
  await outbox.stream().attached();
  const insert = async (columns: string, ...values: unknown[]): Promise<unknown> =>
    outbox.postgres.query(
      `INSERT INTO outbox.event (${columns}) VALUES (${values.map((_, i) => `$${i + 1}`).join(', ')})`,
      values,
    );
  for (const context of ODD_CONTEXTS) await insert('event_type, event_context', 'c', context);
  for (const date of ODD_DATES) await insert('event_type, event_context, event_date_time', 'd', '{}', date);
  for (const trace of ODD_TRACEPARENTS) await insert('event_type, event_context, traceparent', 't', '{}', trace);
  for (const word of ['w', 'Ünï "\'\\\n\t🛒', 'x'.repeat(60_000)])
    await insert(
      'event_type, event_context, environment, subject, metadata_version',
      word,
      '{}',
      word,
      `${word}7`,
      2n ** 63n - 1n,
    );
  for (const context of ['{"same":1}', '{"same":1}', '{"same":2}'])
    await insert('event_id, event_type, event_context', idOf(7), 'i', context);
  const count = ODD_CONTEXTS.length + ODD_DATES.length + ODD_TRACEPARENTS.length + 3 + 3;
  await outbox.untilDelivered(count - 2);

  const report = await compare(outbox, PATIENT);
  expect(report).toMatchObject({ ...NOTHING, postgres: count, clickhouse: count, cleared: 0, isDelivered: true });
  // no event had to be compared by itself
  expect(report.steps).not.toContain('comparing');
  // a copy of each event makes every hour differ: now `verify` compares the digest of every single event
  await change(outbox, copyOf('true', "toUUID('ffffffff-0000-0000-0000-000000000000') AS event_id"));
  expect(await compare(outbox)).toMatchObject({ ...KINDS, identical: false, extra: count });
});

test.concurrent('`verify` finds no difference between two empty sides', async () => {
  await using outbox = await Outbox.create();
  await outbox.stream().attached();
  expect(await compare(outbox, PATIENT)).toMatchObject({
    ...KINDS,
    identical: false,
    code: 'OUTBOX_VERIFY_NOTHING',
    postgres: 0,
    clickhouse: 0,
    examples: [],
  });
});

test.concurrent('`verify` counts and names each kind of difference, and prints nothing of a context', async () => {
  await using outbox = await delivered(1000);
  const at = (n: number): string => `event_id = '${idOf(n)}'`;
  await change(
    outbox,
    copyOf(at(1), 'event_type AS event_type'),
    copyOf(at(2), 'event_type AS event_type'),
    copyOf(at(2), 'seq + 1 AS seq'),
    `ALTER TABLE events UPDATE event_context_text = '{"canary":0}' WHERE ${at(3)}`,
    `ALTER TABLE events UPDATE environment = 'e', metadata_version = 9, subject = 's', trace_id = 't' WHERE ${at(4)}`,
    copyOf(at(5), 'event_date_time - INTERVAL 1 MONTH AS event_date_time'),
    `DELETE FROM events WHERE ${at(5)} AND event_date_time > now() - INTERVAL 1 DAY`,
    `DELETE FROM events WHERE ${at(6)} OR ${at(0)}`,
    `ALTER TABLE events DELETE WHERE ${at(999)}`,
    copyOf(at(8), `toUUID('${idOf(5000)}') AS event_id`),
  );
  const report = await compare(outbox);
  expect(report).toMatchObject({
    ...KINDS,
    identical: false,
    postgres: 1000,
    clickhouse: 1002,
    missing: 3,
    double: 4,
    altered: 3,
    extra: 1,
    cleared: 0,
  });
  expect(named(report, 'missing')).toEqual([idOf(0), idOf(6), idOf(999)]);
  expect(named(report, 'double')).toEqual([idOf(1), idOf(2)]);
  expect(named(report, 'extra')).toEqual([idOf(5000)]);
  expect(report.examples.filter(({ kind }) => kind === 'altered').map(({ eventId, why }) => [eventId, why])).toEqual([
    [idOf(3), 'another event_context_text'],
    [idOf(4), 'another metadata_version, environment, subject, trace'],
    [idOf(5), 'another event_date_time'],
  ]);
  const [double] = report.examples.filter(({ eventId }) => eventId === idOf(2));
  const [row] = await outbox.select<{ lsn: number }>(`SELECT lsn FROM events WHERE ${at(2)} LIMIT 1`);
  expect(double).toMatchObject({ count: 3, position: `${formatLsn(row!.lsn)}:4` });

  const limited = await cli(outbox, ['--limit', '1', '--wait', '0']);
  expect(limited.code).toBe(1);
  expect(limited.stdout).toMatch(/missing +3\n/);
  expect(limited.stdout).toContain('missing, the first 1:');
  expect(limited.stdout).toContain('Differences: 3 missing, 4 double, 3 altered, 1 extra, 1 mistyped.');
  expect(limited.stdout).not.toContain(idOf(6));
  expect(limited.stdout + JSON.stringify(report)).not.toContain('canary');
  expect(limited.stderr).toBe('');
});

test.concurrent('`verify` treats events that share an id as separate, and finds the one that is missing', async () => {
  await using outbox = await Outbox.create();
  await outbox.stream().attached();
  const id = idOf(1);
  for (const n of [1, 2, 2])
    await outbox.postgres.query("INSERT INTO outbox.event (event_id, event_type, event_context) VALUES ($1, 't', $2)", [
      id,
      { n },
    ]);
  await outbox.fill(1);
  await outbox.untilDelivered(2);
  expect(await compare(outbox)).toMatchObject(NOTHING);
  await change(outbox, `DELETE FROM events WHERE event_context_text = '{"n":1}'`);
  expect(await compare(outbox)).toMatchObject({ ...KINDS, missing: 1 });
  await change(outbox, copyOf(`event_id = '${id}' ORDER BY lsn LIMIT 1`, 'event_type AS event_type'));
  expect(await compare(outbox)).toMatchObject({ ...KINDS, missing: 1, double: 1 });
});

test.concurrent('`verify` compares a window of dates that includes --from and excludes --to', async () => {
  await using outbox = await Outbox.create();
  await outbox.stream().attached();
  const times = [
    '2024-02-29T11:59:59.999Z',
    '2024-02-29T12:00:00.000Z',
    '2024-02-29T13:30:00.000Z',
    '2024-02-29T14:00:00.000Z',
  ];
  for (const [n, time] of times.entries())
    await outbox.postgres.query(
      "INSERT INTO outbox.event (event_id, event_type, event_context, event_date_time) VALUES ($1, 't', '{}', $2)",
      [idOf(n), time],
    );
  await outbox.untilDelivered(times.length);
  await change(outbox, 'TRUNCATE TABLE events');
  const { code, stdout } = await cli(outbox, [
    '--json',
    '--wait',
    '0',
    '--from',
    '2024-02-29T12:00',
    '--to',
    '2024-02-29T16:00:00+02:00',
  ]);
  expect(code).toBe(1);
  const report = JSON.parse(stdout) as VerifyReport;
  expect(report).toMatchObject({ postgres: 2, missing: 2, window: { from: '2024-02-29T12:00:00.000000Z' } });
  expect(named(report, 'missing')).toEqual([idOf(1), idOf(2)]);
  expect(await compare(outbox)).toMatchObject({ missing: 4 });
});

test.concurrent('`verify` ignores rows of other sources, and counts rows of a lost timeline as extra', async () => {
  await using outbox = await delivered(10);
  await change(
    outbox,
    copyOf('true', "'1/other' AS source"),
    // a row of before the server's restore from a backup: its position is past the end of today's WAL, yet it is old
    copyOf(`event_id = '${idOf(3)}'`, `lsn + 1000000000 AS lsn, toUUID('${idOf(77)}') AS event_id`),
  );
  // a position past the snapshot belongs to a later event, unless it was committed before the snapshot
  expect(await compare(outbox)).toMatchObject(NOTHING);
  await outbox.postgres.query("UPDATE outbox.event SET recorded_at = recorded_at - interval '2 hours'");
  await change(
    outbox,
    'ALTER TABLE events UPDATE recorded_at = recorded_at - INTERVAL 2 HOUR WHERE true SETTINGS mutations_sync = 1',
  );
  await change(outbox, copyOf(`event_id = '${idOf(77)}'`, 'committed_at - INTERVAL 1 HOUR AS committed_at'));
  const report = await compare(outbox);
  expect(report).toMatchObject({ ...KINDS, extra: 1, postgres: 10, clickhouse: 11 });
  expect(named(report, 'extra')).toEqual([idOf(77)]);
});

test.concurrent('`verify` counts what retention has removed as expired, not as extra', async () => {
  await using outbox = await delivered(30);
  // ten old events, and ten of a transaction that began before the oldest remaining event and committed after it
  const ids = (from: number): string => Array.from({ length: 10 }, (_, n) => `'${idOf(from + n)}'`).join(',');
  await change(
    outbox,
    copyOf(`event_id IN (${ids(0)})`, 'committed_at - INTERVAL 40 DAY AS committed_at'),
    `DELETE FROM events WHERE event_id IN (${ids(0)}) AND committed_at > now() - INTERVAL 1 DAY`,
  );
  await outbox.postgres.query(`DELETE FROM outbox.event WHERE event_id IN (${ids(0)}, ${ids(10)})`);
  expect(await compare(outbox)).toMatchObject({ ...NOTHING, expired: 20, postgres: 10, clickhouse: 30 });
  await outbox.postgres.query('TRUNCATE outbox.event');
  const emptied = {
    ...KINDS,
    identical: false,
    code: 'OUTBOX_VERIFY_NOTHING',
    expired: 30,
    postgres: 0,
    clickhouse: 30,
  };
  expect(await compare(outbox)).toMatchObject(emptied);
  const { code, stdout } = await cli(outbox, ['--wait', '0']);
  expect(code).toBe(1);
  expect(stdout).toContain('There is nothing to compare');
});

test.concurrent('`verify` does not count quarantined and discarded events as missing, except those of another slot', async () => {
  await using outbox = await delivered(10);
  await outbox.postgres.query(
    `DROP TABLE IF EXISTS outbox.quarantine;
     CREATE TABLE outbox.quarantine (slot_name text, lsn pg_lsn, seq bigint, event_id uuid, discarded_at timestamptz)`,
  );
  const put = async (n: number, slot: string, discardedAt: string | null): Promise<unknown> =>
    outbox.postgres.query("INSERT INTO outbox.quarantine VALUES ($1, '0/1', 1, $2, $3)", [slot, idOf(n), discardedAt]);
  await put(1, outbox.slot, null);
  await put(2, outbox.slot, '2024-01-01');
  await put(3, 'another', null);
  await change(outbox, `DELETE FROM events WHERE event_id IN ('${idOf(1)}', '${idOf(2)}')`);
  expect(await compare(outbox)).toMatchObject({ ...NOTHING, quarantined: 1, discarded: 1 });
  const { code, stdout } = await cli(outbox, ['--wait', '0']);
  expect(code).toBe(0);
  expect(stdout).toContain('ClickHouse holds the same events, but for 2 in quarantine or discarded.');
  await change(outbox, `DELETE FROM events WHERE event_id = '${idOf(3)}'`);
  expect(await compare(outbox)).toMatchObject({ identical: false, quarantined: 1, discarded: 1, missing: 1 });
});

test.concurrent('`verify` finds no difference while producers commit and roll back all the time', async () => {
  await using outbox = await Outbox.create();
  await outbox.stream().attached();
  const over = new AbortController();
  let committed = 0;
  const producer = async (): Promise<void> => {
    const client = await outbox.postgres.connect();
    for (let n = 0; !over.signal.aborted; n++) {
      await client.query('BEGIN');
      for (let i = 0; i <= n % 3; i++) await emitEvent(client, { type: 'live', context: { n } });
      const isKept = n % 4 !== 0;
      await client.query(isKept ? 'COMMIT' : 'ROLLBACK');
      if (isKept) committed += (n % 3) + 1;
    }
    client.release();
  };
  const producers = [producer(), producer(), producer()];
  const reports: VerifyReport[] = [];
  for (let round = 0; round < 8; round++) reports.push(await compare(outbox, PATIENT));
  over.abort();
  await Promise.all(producers);
  for (const report of reports) {
    expect(report).toMatchObject({ ...NOTHING, examples: [], isDelivered: true });
    expect(report.clickhouse - report.postgres).toBe(report.cleared);
  }
  const counts = reports.map(({ postgres }) => postgres);
  expect(counts).toEqual(counts.toSorted((a, b) => a - b));
  expect(counts.at(-1)).toBeGreaterThan(counts[0]!);
  expect(await compare(outbox, PATIENT)).toMatchObject({ ...NOTHING, postgres: committed, clickhouse: committed });
}, 120_000);

test.concurrent('`verify` finds no difference in what commits between its snapshot and the reading of its position', async () => {
  await using outbox = await delivered(10);
  const connect = async () =>
    Database.connect(outbox.databaseUrl, { queryTimeoutMs: 0, parameters: SNAPSHOT_PARAMETERS }, () => undefined);
  const [first, second, ask] = [await connect(), await connect(), await connect()];
  const late: Pick<Database, 'query'> = {
    async query(statement, values) {
      if (statement.includes('pg_current_wal_insert_lsn')) await outbox.fill(3);
      return first.query(statement, values);
    },
  };
  const clickhouse = new ClickHouse(outbox.clickhouseUrl, 60_000);
  const [{ source }] = (await outbox.select<{ source: string }>('SELECT DISTINCT source FROM events')) as [
    { source: string },
  ];
  const options = {
    first: late as Database,
    second,
    ask,
    clickhouse,
    source,
    slots: [outbox.slot],
    part: '',
    formers: '',
    movedAtMs: 0,
    table: 'events',
    window: ALL,
    dates: MICROSECONDS,
    ...PATIENT,
  };
  const { snapshot } = await deliveredSnapshot(options);
  const comparison = new Comparison(options, snapshot);
  const differences: unknown[] = [];
  for await (const difference of comparison.differences()) differences.push(difference);
  expect(differences).toEqual([]);
  expect(comparison.totals).toMatchObject({ postgres: 10, clickhouse: 13, cleared: 3 });
  await Promise.all([clickhouse.close(), first.close(), second.close(), ask.close()]);
});

test.concurrent('the hours of a large table, which are counted a partition at a time, are those of a small one', async () => {
  await using outbox = await Outbox.create();
  await outbox.postgres.query(
    `INSERT INTO outbox.event (event_type, event_context, event_date_time, bucket)
     SELECT 'hour', '{}', '2020-01-01'::timestamptz + n * interval '17 minutes', n % 7 FROM generate_series(1, 3000) n`,
  );
  const db = await Database.connect(outbox.databaseUrl, { parameters: SNAPSHOT_PARAMETERS }, () => undefined);
  const snapshot = await OutboxSnapshot.take(db, { part: "event_type <> 'other' OR false", dates: MICROSECONDS });
  const hours = async (largeBytes: number, onPart: (done: number, of: number) => void): Promise<Bucket[]> => {
    const rows: Bucket[] = [];
    for await (const chunk of snapshot.buckets(ALL, onPart, largeBytes)) rows.push(...chunk);
    return rows;
  };
  const parts: [done: number, of: number][] = [];
  const sliced = await hours(0, (done, of) => void parts.push([done, of]));
  expect(sliced).toEqual(await hours(Infinity, () => expect.unreachable()));
  expect(sliced.length).toBeGreaterThan(500);
  const [whole = 0] = parts.map(([, of]) => of);
  expect(whole).toBeGreaterThan(0);
  expect([parts.length, parts[0], parts.at(-1)]).toEqual([33, [0, whole], [whole, whole]]);
  await snapshot.close();
  await db.close();
});

test.concurrent('`verify` does not wait for an open transaction, and compares its events after the commit', async () => {
  await using outbox = await delivered(10);
  const client = await outbox.postgres.connect();
  await client.query('BEGIN');
  await emitEvent(client, { type: 'open', context: {} });
  expect(await compare(outbox, PATIENT)).toMatchObject({ ...NOTHING, postgres: 10 });
  await client.query('COMMIT');
  client.release();
  await outbox.untilDelivered(11);
  expect(await compare(outbox)).toMatchObject({ ...NOTHING, postgres: 11 });
});

test.concurrent('`verify` reports that no streamer runs or that it is behind, and compares at once with --wait 0', async () => {
  await using outbox = await Outbox.create();
  await outbox.fill(5);
  const none = await cli(outbox, ['--wait', '1s', '--json']);
  expect(none.code).toBe(1);
  expect(none.stderr).toMatch(/^waiting for the streamer to deliver, at most 1 s, 0 s so far\n/);
  expect(JSON.parse(none.stdout)).toMatchObject({ error: { code: 'OUTBOX_VERIFY_NO_STREAMER' } });
  expect(none.stderr).toContain('OUTBOX_VERIFY_NO_STREAMER');

  const blind = await cli(outbox, ['--wait', '0']);
  expect(blind.code).toBe(1);
  expect(blind.stdout).toContain('Differences: 5 missing.');
  expect(blind.stdout).toContain('what was committed behind it counts as missing');

  const streamer = outbox.stream({ CLICKHOUSE_URL: 'http://outbox:outbox@127.0.0.1:1/none' });
  await streamer.failure('OUTBOX_CH_UNREACHABLE');
  await expect(compare(outbox, { waitMs: 500 })).rejects.toMatchObject({ code: 'OUTBOX_VERIFY_BEHIND' });
});

test.concurrent('`verify` reports that no streamer runs when the slot is missing, and compares at once without a wait', async () => {
  await using outbox = await Outbox.create();
  await outbox.postgres.query('SELECT pg_drop_replication_slot($1)', [outbox.slot]);
  await expect(compare(outbox, { waitMs: 10 })).rejects.toMatchObject({ code: 'OUTBOX_VERIFY_NO_STREAMER' });
  expect(await compare(outbox, { waitMs: 0 })).toMatchObject({ ...KINDS, code: 'OUTBOX_VERIFY_NOTHING' });
});

test.concurrent('`verify` rejects wrong usage and settings, and reports databases that are not migrated', async () => {
  await using outbox = await Outbox.create({ migrated: false });
  const wrong = await cli(outbox, ['--from', 'yesterday', '--limit', 'x']);
  expect(wrong.code).toBe(2);
  expect(wrong.stderr).toContain('--from must be');
  expect(wrong.stderr).toContain('--limit must be');
  expect((await cli(outbox, [], { OUTBOX_BATCH_MAX_ROWS: 'x' })).code).toBe(2);
  const help = await cli(outbox, ['--help']);
  expect(help.code).toBe(0);
  expect(help.stdout).toContain('Usage: pg-outbox-clickhouse verify');
  await expect(compare(outbox)).rejects.toMatchObject({ code: 'OUTBOX_PG_NOT_MIGRATED' });
  await outbox.migrate();
  await outbox.fill(1);
  await change(outbox, 'DROP TABLE events');
  await expect(compare(outbox, { waitMs: 0 })).rejects.toMatchObject({ code: 'OUTBOX_CH_NOT_MIGRATED' });
});

test.concurrent('the role outbox_streamer may run `verify`', async () => {
  // roles belong to the whole server
  await using postgres = await startPostgres();
  await using outbox = await Outbox.create({ postgresUrl: postgres.url });
  const streamer = outbox.stream();
  await outbox.fill(10);
  await outbox.untilDelivered(10);
  const roles = await readFile(new URL('../../migrations/postgres/roles.sql', import.meta.url), 'utf8');
  await outbox.postgres.query(roles);
  await outbox.postgres.query("ALTER ROLE outbox_streamer PASSWORD 'verify'");
  const url = Object.assign(new URL(outbox.databaseUrl), { username: 'outbox_streamer', password: 'verify' });
  const { code, stdout, stderr } = await cli(outbox, [], { DATABASE_URL: url.href });
  expect(stderr).toMatch(ONLY_PROGRESS);
  expect(stdout).toContain('Postgres and ClickHouse hold the same events.');
  expect(code).toBe(0);
  expect(await streamer.stop()).toBe(0);
});

test.concurrent('`verify` tells its progress in lines on stderr when no terminal reads it, and nothing of it on stdout', async () => {
  await using outbox = await delivered(50_000);
  await change(outbox, 'TRUNCATE TABLE events');
  const { stdout, stderr } = await cli(outbox, ['--json', '--wait', '0', '--progress', '1ms']);
  expect(JSON.parse(stdout)).toMatchObject({ missing: 50_000 });
  expect(stderr).toMatch(/^comparing hours, \d+ s so far$/m);
  expect(stderr).toMatch(/^comparing again, \d+ % of 50,000, [\d,]+ a second, \d+ s left, \d+ s so far$/m);
  expect(stderr).not.toContain('\u001B');
});

test.concurrent('`verify` counts more differences than it holds in memory, the first and the last id included', async () => {
  await using outbox = await delivered(110_000);
  const kept = 'cityHash64(event_id) % 50 = 0';
  await change(outbox, `DELETE FROM events WHERE NOT (${kept}) OR event_id IN ('${idOf(0)}', '${idOf(109_999)}')`);
  const { rows } = await outbox.delivered();
  const report = await compare(outbox, { limit: 100_000 });
  expect(report).toMatchObject({
    ...KINDS,
    identical: false,
    postgres: 110_000,
    clickhouse: rows,
    missing: 110_000 - rows,
  });
  const ids = named(report, 'missing');
  expect(ids[0]).toBe(idOf(0));
  expect(ids.length).toBe(Math.min(100_000, 110_000 - rows));
  expect(ids).toEqual(ids.toSorted());
  expect(new Set(ids).size).toBe(ids.length);
}, 120_000);

test('repair and verify know an event whose login has a name that is no UTF-8', async () => {
  await using outbox = await delivered(1);
  // roles are shared by databases of all encodings
  const createOptions = "ENCODING 'LATIN1' LOCALE 'C' LOCALE_PROVIDER libc TEMPLATE template0";
  await using latin = await Outbox.create({ migrated: false, createOptions });
  await latin.postgres.query(`CREATE ROLE "j\u00fcrg_${latin.slot}" SUPERUSER`);
  try {
    const client = await outbox.postgres.connect();
    await client.query(
      `DO $$ BEGIN EXECUTE (SELECT format('SET SESSION AUTHORIZATION %I', rolname) FROM pg_roles WHERE rolname LIKE 'j%g_${latin.slot}'); END $$`,
    );
    await client.query("INSERT INTO outbox.event (event_type, event_context) VALUES ('written', '{}')");
    client.release(true);
    await outbox.untilDelivered(2);
    expect(await compare(outbox, PATIENT)).toMatchObject(NOTHING);
    await change(outbox, "DELETE FROM events WHERE event_type = 'written'");
    expect(await compare(outbox)).toMatchObject({ missing: 1 });
    expect(await command(outbox, ['repair', '--json'], { OUTBOX_INSERT_TIMEOUT_MS: '1000' }).done).toMatchObject({
      code: 0,
    });
    expect(await compare(outbox)).toMatchObject(NOTHING);
  } finally {
    await latin.postgres.query(`DROP ROLE "j\u00fcrg_${latin.slot}"`);
  }
  const hex = "SELECT hex(substring(recorded_by, 1, 4)) AS bytes FROM events WHERE event_type = 'written'";
  expect(await outbox.select(hex)).toEqual([{ bytes: '6AFC7267' }]);
});
