import { spawn } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text as streamText } from 'node:stream/consumers';
import { afterAll, expect, test } from 'vitest';
import {
  verifyManifests,
  type ManifestOptions,
  type ManifestsReport as ManifestsReportOfVerify,
} from '../../src/streamer/commands/verify-manifests.ts';
import { TABLE_DELIVERED, TABLE_WITNESSED } from '../../src/streamer/compare/digest.ts';
import { ALL } from '../../src/streamer/compare/window.ts';
import { readConfig } from '../../src/streamer/config.ts';
import { migrateClickHouse } from '../../src/streamer/commands/migrate-clickhouse.ts';
import { migratePostgres } from '../../src/streamer/commands/migrate-postgres.ts';
import { Eraser } from '../../src/streamer/erase/erase.ts';
import { ClosedHours } from '../../src/streamer/manifests/closed-hours.ts';
import { Manifests, type ManifestsReport } from '../../src/streamer/manifests/manifests.ts';
import type { Manifest } from '../../src/streamer/manifests/manifest.ts';
import { OutboxManifests } from '../../src/streamer/manifests/store.ts';
import type { RetentionReport } from '../../src/streamer/retention/removal.ts';
import { Retention } from '../../src/streamer/retention/retention.ts';
import { Database } from '../../src/streamer/source/database.ts';
import { command } from '../support/command.ts';
import { Outbox } from '../support/outbox.ts';
import { Proxy } from '../support/proxy.ts';
import { eventually } from '../support/wait.ts';

const SCRIPT = new URL('../../examples/auditor/check_manifests.py', import.meta.url).pathname;
const OFF = { OUTBOX_RETENTION_DAYS: '0' };

const keyFolder = await mkdtemp(join(tmpdir(), 'manifest-keys-'));
const { privateKey, publicKey } = generateKeyPairSync('ed25519');
const KEY_FILE = join(keyFolder, 'streamer.key');
await writeFile(KEY_FILE, privateKey.export({ type: 'pkcs8', format: 'pem' }));
await mkdir(join(keyFolder, 'public'));
await writeFile(join(keyFolder, 'public', '2026.pem'), publicKey.export({ type: 'spki', format: 'pem' }));
afterAll(async () => rm(keyFolder, { recursive: true }));

function environment(outbox: Outbox): Record<string, string> {
  return { DATABASE_URL: outbox.databaseUrl, CLICKHOUSE_URL: outbox.clickhouseUrl, OUTBOX_SLOT: outbox.slot };
}

/** Events of so many hours ago, as if they had been emitted then; the n-th has the id 00000000-0000-0000-<hours>-<n>. */
async function fillHoursAgo(outbox: Outbox, hours: number, count: number, first = 0): Promise<void> {
  await outbox.postgres.query(
    `INSERT INTO outbox.event (event_id, event_type, event_context, recorded_at, bucket)
     SELECT (lpad($1::text, 20, '0') || lpad(n::text, 12, '0'))::uuid, 'hour.' || $1, json_build_object('n', n), at, (extract(epoch FROM at)::bigint / 86400) % 32
       FROM generate_series($3::int, $3::int + $2::int - 1) n, LATERAL (SELECT date_trunc('hour', now()) - make_interval(hours => $1::int) + n * interval '1 ms' AS at) t`,
    [hours, count, first],
  );
}

interface Made extends ManifestsReport {
  readonly manifests: readonly Manifest[];
}

/** One run of the job, by a process that has run before or not. */
async function make(outbox: Outbox, job = new Manifests(readConfig(environment(outbox)))): Promise<Made> {
  const manifests: Manifest[] = [];
  const signal = new AbortController().signal;
  const report = await job.run({ signal, waitMs: 60_000, onMade: (manifest) => manifests.push(manifest) });
  return { ...report, manifests };
}

/** An outbox whose streamer has delivered events of two hours. */
async function delivered(): Promise<Outbox> {
  const outbox = await Outbox.create();
  await outbox.stream(OFF).attached();
  await fillHoursAgo(outbox, 3, 300);
  await fillHoursAgo(outbox, 2, 200);
  await outbox.untilDelivered(500);
  return outbox;
}

test.concurrent('the streamer writes one manifest of each closed hour into both databases, and the head of the chain into its log', async () => {
  await using outbox = await Outbox.create();
  await fillHoursAgo(outbox, 3, 300);
  await fillHoursAgo(outbox, 2, 200);
  const streamer = outbox.stream({ ...OFF, OUTBOX_MANIFESTS: 'on', OUTBOX_MANIFEST_KEY_FILE: KEY_FILE });
  await streamer.log(({ msg, number }) => msg === 'made a manifest' && number === 2);
  const told = streamer.logs.filter(({ msg }) => msg === 'made a manifest');
  expect(told).toMatchObject([
    { level: 'info', number: 1, part: 1, events: 300, hash: expect.stringMatching(/^[0-9a-f]{64}$/) },
    { number: 2, part: 1, events: 200, keyId: expect.stringMatching(/^[0-9a-f]{16}$/) },
  ]);
  await expectOneChain(outbox, [300, 200]);
  const archive = join(keyFolder, `${outbox.slot}.log`);
  await writeFile(archive, streamer.output);
  expect(await audit(outbox, { keys: join(keyFolder, 'public'), anchor: archive })).toMatchObject({
    intact: true,
    report: { sources: [{ manifests: 2, signed: 2, anchored: 2, head: { hash: told[1]!['hash'] } }] },
  });
  expect((await make(outbox)).made).toBe(0);
  expect(streamer.logs.filter(({ level }) => level === 'warn' || level === 'error')).toEqual([]);
  expect(await streamer.stop()).toBe(0);
});

/** As an administrator of ClickHouse could. */
async function change(outbox: Outbox, ...statements: string[]): Promise<void> {
  for (const query of statements)
    await outbox.clickhouse.command({
      query,
      clickhouse_settings: { mutations_sync: '2', lightweight_deletes_sync: '2', async_insert: 0 },
    });
}

const idOf = (hours: number, n: number): string =>
  `00000000-0000-0000-${String(hours).padStart(4, '0')}-${String(n).padStart(12, '0')}`;

test.concurrent('events that come late make a further part, which names them; what `repair` brings back makes one without', async () => {
  await using outbox = await Outbox.create();
  await change(
    outbox,
    "ALTER TABLE events ADD CONSTRAINT sound CHECK event_id != toUUID('00000000-0000-0000-0003-000000000007')",
  );
  await outbox.stream(OFF).attached();
  await fillHoursAgo(outbox, 3, 100);
  await fillHoursAgo(outbox, 2, 10);
  await outbox.untilDelivered(109);
  const job = new Manifests(readConfig(environment(outbox)));
  const first = await make(outbox, job);
  expect(first.trouble).toBeUndefined();
  expect(first.manifests).toMatchObject([
    { events: 99, absent: [expect.any(String)] },
    { events: 10, absent: [] },
  ]);

  // out of quarantine
  await change(outbox, 'ALTER TABLE events DROP CONSTRAINT sound');
  expect((await command(outbox, ['quarantine', 'retry', '--all']).done).code).toBe(0);
  const second = await make(outbox, job);
  expect(second.manifests).toMatchObject([
    { number: 3, part: 2, events: 100, added: first.manifests[0]!.absent, absent: [] },
  ]);

  // committed after its hour was closed, and beside it one that is lost and repaired
  await fillHoursAgo(outbox, 2, 5, 10);
  await outbox.untilDelivered(115);
  await change(outbox, `DELETE FROM events WHERE event_id = '${idOf(2, 3)}'`);
  const lacking = await make(outbox, job);
  expect(lacking.trouble).toMatchObject({
    code: 'OUTBOX_MANIFEST_DIFFERS',
    message: expect.stringContaining('lacks 1 '),
  });
  expect(lacking.manifests).toEqual([]);
  const repaired = await command(outbox, ['repair'], { OUTBOX_INSERT_TIMEOUT_MS: '1000' }).done;
  expect(repaired).toMatchObject({ code: 0 });
  const third = await make(outbox, job);
  expect(third.trouble).toBeUndefined();
  expect(third.manifests).toMatchObject([{ number: 4, part: 2, events: 15, previous: second.manifests[0]!.hash }]);
  expect(third.manifests[0]!.added).toHaveLength(5);

  // what is lost and brought back is the same event, delivered at another time
  await change(
    outbox,
    `INSERT INTO events SELECT * REPLACE ('repair' AS origin, now64(6) AS delivered_at) FROM (SELECT * FROM events WHERE event_id = '${idOf(3, 5)}')`,
    `DELETE FROM events WHERE event_id = '${idOf(3, 5)}' AND origin = 'stream'`,
  );
  const fourth = await make(outbox, job);
  expect(fourth.manifests).toMatchObject([
    { number: 5, part: 3, events: 100, added: [], witnessed: second.manifests[0]!.witnessed },
  ]);
  expect(fourth.manifests[0]!.delivered).not.toBe(second.manifests[0]!.delivered);
  expect((await make(outbox, job)).made).toBe(0);
});

test.concurrent('an event that leaves quarantine after its bucket was emptied makes a further part, and one without a witness makes none', async () => {
  await using outbox = await Outbox.create();
  await change(outbox, `ALTER TABLE events ADD CONSTRAINT sound CHECK event_id != toUUID('${idOf(240, 7)}')`);
  await outbox.stream(OFF).attached();
  await fillHoursAgo(outbox, 240, 20);
  await fillHoursAgo(outbox, 2, 5);
  await outbox.untilDelivered(24);
  const [first] = (await make(outbox)).manifests;
  expect(first).toMatchObject({ events: 19, absent: [expect.any(String)] });
  await outbox.postgres.query("DELETE FROM outbox.event WHERE event_type = 'hour.240'");
  await change(outbox, 'ALTER TABLE events DROP CONSTRAINT sound');
  expect((await command(outbox, ['quarantine', 'retry', '--all']).done).code).toBe(0);
  expect((await make(outbox)).manifests).toMatchObject([
    { number: 3, part: 2, events: 20, added: first!.absent, absent: [] },
  ]);
  expect(await make(outbox)).toMatchObject({ made: 0, trouble: undefined });
  // nobody says that it was ever recorded
  await change(
    outbox,
    `INSERT INTO events SELECT * REPLACE (toUUID('ffffffff-0000-0000-0000-000000000000') AS event_id, now64(6) AS delivered_at) FROM (SELECT * FROM events WHERE event_id = '${idOf(240, 7)}')`,
  );
  await fillHoursAgo(outbox, 241, 1);
  await outbox.untilDelivered(26);
  expect(await make(outbox)).toMatchObject({ made: 1, trouble: { code: 'OUTBOX_MANIFEST_DIFFERS' } });
});

test.concurrent('no manifest is made of an hour that was altered or added to, and retention keeps what has none', async () => {
  await using outbox = await Outbox.create();
  await outbox.stream(OFF).attached();
  await fillHoursAgo(outbox, 240, 20);
  await fillHoursAgo(outbox, 239, 20);
  await outbox.untilDelivered(40);
  const retain = async (): Promise<RetentionReport> =>
    new Retention(readConfig({ ...environment(outbox), OUTBOX_MANIFESTS: 'on' })).run({
      signal: new AbortController().signal,
      isDry: true,
    });
  expect((await retain()).kept).toMatchObject({ passes: false, reason: expect.stringContaining('no manifest') });
  await change(
    outbox,
    `ALTER TABLE events UPDATE event_context_text = '{"n":8}' WHERE event_id = '${idOf(240, 7)}'`,
    `INSERT INTO events SELECT * REPLACE (toUUID('ffffffff-0000-0000-0000-000000000000') AS event_id) FROM (SELECT * FROM events WHERE event_id = '${idOf(239, 1)}')`,
  );
  const { made, trouble } = await make(outbox);
  expect({ made, code: trouble?.code }).toEqual({ made: 0, code: 'OUTBOX_MANIFEST_DIFFERS' });
  expect(trouble?.message).toContain('lacks 1 that outbox.event has, and has 1 that it does not have');
  await change(
    outbox,
    `ALTER TABLE events UPDATE event_context_text = '{"n" : 7}' WHERE event_id = '${idOf(240, 7)}'`,
    "DELETE FROM events WHERE event_id = 'ffffffff-0000-0000-0000-000000000000'",
  );
  expect(await make(outbox)).toMatchObject({ made: 2, trouble: undefined });
  const { kept, removed } = await retain();
  // late in the evening the two hours are of different days
  expect([kept, removed.reduce((sum, { rows }) => sum + rows, 0)]).toEqual([undefined, 40]);
});

test.concurrent('two processes make each manifest once; one that has lost its epoch writes none', async () => {
  await using outbox = await delivered();
  const [one, other] = await Promise.all([make(outbox), make(outbox)]);
  expect(one.made + other.made).toBe(2);
  await expectOneChain(outbox, [300, 200]);
  const db = await Database.connect(outbox.databaseUrl, {}, () => undefined);
  const next = { ...[...one.manifests, ...other.manifests][0]!, number: 3, part: 9 };
  expect(await new OutboxManifests(db, next.source).add(next, outbox.slot, 0)).toBe(false);
  await db.close();
});

test.concurrent('Postgres takes back a manifest that a failover has cost it, and one that it cannot confirm is told as a fork', async () => {
  await using outbox = await delivered();
  const { manifests } = await make(outbox);
  await outbox.postgres.query('DELETE FROM outbox.manifest WHERE number = 2');
  expect((await make(outbox)).made).toBe(0);
  const { rows } = await outbox.postgres.query('SELECT hash FROM outbox.manifest WHERE number = 2');
  expect(rows).toEqual([{ hash: manifests[1]!.hash }]);
  await change(
    outbox,
    'ALTER TABLE events_manifests DELETE WHERE number = 2',
    `INSERT INTO events_manifests SELECT * REPLACE (repeat('0', 64) AS hash) FROM (SELECT * REPLACE (2 AS number) FROM (SELECT * FROM events_manifests WHERE number = 1))`,
  );
  await expect(make(outbox)).rejects.toMatchObject({ code: 'OUTBOX_MANIFEST_FORKED' });
});

/** One manifest of each number in both databases, of hours with so many events. */
async function expectOneChain(outbox: Outbox, events: number[]): Promise<void> {
  const { rows } = await outbox.postgres.query(
    'SELECT number::int AS number, events::int AS events, hash FROM outbox.manifest ORDER BY number',
  );
  expect(rows.map((row) => row.events)).toEqual(events);
  expect(await outbox.select('SELECT number, events, hash FROM events_manifests ORDER BY number')).toEqual(rows);
}

test.concurrent.each(['before Postgres has it', 'before ClickHouse has it', 'before it knows that ClickHouse has it'])(
  'a streamer that is killed %s leaves one manifest of each hour',
  async (moment) => {
    await using outbox = await Outbox.create();
    const { proxy, url } = await Proxy.to(new URL(outbox.clickhouseUrl));
    await fillHoursAgo(outbox, 3, 30);
    await fillHoursAgo(outbox, 2, 20);
    await outbox.postgres.query(
      `CREATE FUNCTION public.hold() RETURNS trigger LANGUAGE plpgsql
         AS $$ BEGIN PERFORM pg_catalog.pg_advisory_xact_lock_shared(1718); RETURN NEW; END $$`,
    );
    const client = await outbox.postgres.connect();
    await client.query('SELECT pg_advisory_lock(1718)');
    await client.query(
      'CREATE TRIGGER hold BEFORE INSERT ON outbox.manifest FOR EACH ROW EXECUTE FUNCTION public.hold()',
    );
    const streamer = outbox.stream({ ...OFF, CLICKHOUSE_URL: url, OUTBOX_MANIFESTS: 'on' });
    const waiting =
      "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = 1718 AND NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    await eventually('a manifest that is written', async () => (await client.query(waiting)).rowCount === 1, 60_000);
    if (moment === 'before Postgres has it') await streamer.kill();
    else if (moment === 'before ClickHouse has it') proxy.holdRequests();
    else proxy.holdAnswersToInserts();
    await client.query('SELECT pg_advisory_unlock(1718)');
    client.release();
    const inPostgres = async (): Promise<number> =>
      (await outbox.postgres.query('SELECT FROM outbox.manifest')).rowCount!;
    await eventually('its end', async () => (await outbox.postgres.query(waiting)).rowCount === 0);
    if (moment !== 'before Postgres has it')
      await eventually('it is in Postgres', async () => (await inPostgres()) === 1);
    if (moment === 'before it knows that ClickHouse has it')
      await eventually(
        'it is in ClickHouse',
        async () => (await outbox.select('SELECT 1 FROM events_manifests')).length === 1,
      );
    await streamer.kill();
    await proxy.close();
    await outbox.postgres.query('DROP TRIGGER hold ON outbox.manifest');
    // its successor
    outbox.stream(OFF);
    // the server may still execute what the killed one has sent, and a run that meets it leaves the rest to the next
    await eventually('both hours have one', async () => {
      await make(outbox);
      return (await inPostgres()) === 2;
    });
    await expectOneChain(outbox, [30, 20]);
  },
);

interface Told {
  readonly intact: boolean;
  /** Faults as `kind hour of so many hours ago or number: events`. */
  readonly faults: string[];
  readonly report: ManifestsReportOfVerify;
}

async function audit(outbox: Outbox, options: Partial<ManifestOptions> = {}): Promise<Told> {
  const report = await verifyManifests(readConfig(environment(outbox)), {
    window: ALL,
    anchor: '',
    keys: '',
    limit: 20,
    asksPostgres: true,
    ...options,
  });
  const faults = report.faults.map(({ kind, number, events }) =>
    [kind, number ?? '-', ...events.map((event) => `${event.kind} ${event.eventId.slice(-17)}`)].join(' '),
  );
  return { intact: report.intact, faults, report };
}

test.concurrent('`verify --manifests` names what was altered, removed, added, swapped, moved, cut off or forged, and nothing else', async () => {
  await using outbox = await Outbox.create();
  await outbox.stream(OFF).attached();
  await fillHoursAgo(outbox, 6, 50);
  await fillHoursAgo(outbox, 3, 40);
  await fillHoursAgo(outbox, 2, 30);
  await outbox.untilDelivered(120);
  const signing = new Manifests(readConfig({ ...environment(outbox), OUTBOX_MANIFEST_KEY_FILE: KEY_FILE }));
  const { manifests } = await make(outbox, signing);
  const anchor = join(keyFolder, `${outbox.slot}.log`);
  await writeFile(
    anchor,
    manifests
      .map(({ source, number, hash }) =>
        JSON.stringify({ level: 'info', source, number, hash, msg: 'made a manifest' }),
      )
      .join('\n'),
  );
  const keys = join(keyFolder, 'public');
  const alone = { asksPostgres: false, keys };
  const all = await command(outbox, ['verify', '--manifests', '--keys', keys, '--anchor', anchor, '--json'], {
    DATABASE_URL: '',
  }).done;
  expect(all).toMatchObject({ code: 0, stderr: '' });
  expect(JSON.parse(all.stdout)).toMatchObject({
    intact: true,
    postgres: 'not given',
    signatures: true,
    sources: [{ manifests: 3, signed: 3, anchored: 3, hours: 3, events: 120, isTyped: true, head: { number: 3 } }],
  });

  // without this project's code
  const text = async (table: string): Promise<string> =>
    (
      await outbox.clickhouse.query({ query: `SELECT * EXCEPT event_context FROM ${table}`, format: 'JSONEachRow' })
    ).text();
  const folder = await mkdtemp(join(keyFolder, 'export-'));
  const [manifestFile, eventFile] = ['manifests.jsonl', 'events.jsonl'].map((name) => join(folder, name)) as [
    string,
    string,
  ];
  await writeFile(manifestFile, await text('(SELECT *, 1 AS event_context FROM events_manifests)'));
  const script = async (events: string): Promise<{ code: number | null; stdout: string }> => {
    await writeFile(eventFile, events);
    const python = spawn('python3', [SCRIPT, manifestFile, eventFile, `--key=${join(keys, '2026.pem')}`]);
    const [stdout, [code]] = await Promise.all([streamText(python.stdout), once(python, 'exit')]);
    return { code: code as number | null, stdout };
  };
  const exported = await text('events');
  expect(await script(exported)).toEqual({ code: 0, stdout: expect.stringMatching(/^(.* intact\n){3}$/) });
  expect(await script(exported.replace(idOf(3, 7), idOf(3, 70)))).toEqual({
    code: 1,
    stdout: expect.stringMatching(/^.* intact\n.* 40 events, which are not the 40 of the manifest\n.* intact\n$/),
  });

  /** Does something, tells what is found with Postgres and without it, and undoes it. */
  const tamper = async (...statements: string[]): Promise<[string[], string[]]> => {
    await change(outbox, 'CREATE TABLE kept AS events', 'CREATE TABLE kept_manifests AS events_manifests');
    await change(
      outbox,
      'INSERT INTO kept SELECT * FROM events',
      'INSERT INTO kept_manifests SELECT * FROM events_manifests',
    );
    await change(outbox, ...statements);
    const found = [await audit(outbox, { keys }), await audit(outbox, { ...alone, anchor })];
    await change(outbox, 'EXCHANGE TABLES kept AND events', 'EXCHANGE TABLES kept_manifests AND events_manifests');
    await change(outbox, 'DROP TABLE kept', 'DROP TABLE kept_manifests');
    return found.map(({ faults }) => faults) as [string[], string[]];
  };
  const event = (hours: number, n: number): string => `event_id = '${idOf(hours, n)}'`;
  const end = (hours: number, n: number): string => idOf(hours, n).slice(-17);

  const flip = `ALTER TABLE events UPDATE event_context_text = replace(event_context_text, '7', '8') WHERE ${event(3, 7)}`;
  expect(await tamper(flip)).toEqual([
    [`altered 2 altered ${end(3, 7)}`, 'mistyped -'],
    ['altered 2', 'mistyped -'],
  ]);
  expect(await tamper(`DELETE FROM events WHERE ${event(6, 9)}`)).toEqual([
    [`missing 1 missing ${end(6, 9)}`],
    ['missing 1'],
  ]);
  const added = 'ffffffff-0000-0000-0003-000000000000';
  expect(
    await tamper(
      `INSERT INTO events SELECT * REPLACE (toUUID('${added}') AS event_id) FROM (SELECT * FROM events WHERE ${event(3, 1)})`,
    ),
  ).toEqual([[`added 2 added ${added.slice(-17)}`], ['added 2']]);
  // in an hour that had none, between others; those outside the chain are counted
  const hour = (n: number): string =>
    `INSERT INTO events SELECT * REPLACE (recorded_at + INTERVAL ${n} HOUR AS recorded_at) FROM (SELECT * FROM kept WHERE ${event(6, 1)})`;
  expect(await tamper(hour(1), hour(90))).toEqual([
    [expect.stringMatching(/^unwitnessed - added /)],
    ['unwitnessed -'],
  ]);
  const [a, b] = [idOf(2, 11), idOf(2, 12)];
  const swap = (column: string): string =>
    `ALTER TABLE events UPDATE ${column} = if(event_id = '${a}', (SELECT ${column} FROM kept WHERE event_id = '${b}'), (SELECT ${column} FROM kept WHERE event_id = '${a}')) WHERE event_id IN ('${a}', '${b}')`;
  expect(await tamper(swap('event_context_text'), swap('event_context'))).toEqual([
    [`altered 3 altered ${end(2, 11)} altered ${end(2, 12)}`],
    ['altered 3'],
  ]);
  expect(await tamper(swap('seq'))).toEqual([['moved 3'], ['moved 3']]);
  expect(await tamper(`ALTER TABLE events UPDATE event_context = '{"n":9}' WHERE ${event(2, 1)}`)).toEqual([
    ['mistyped -'],
    ['mistyped -'],
  ]);
  const newest = 'recorded_at >= (SELECT max(hour) FROM kept_manifests)';
  expect(await tamper(`DELETE FROM events WHERE ${newest}`, 'DELETE FROM events_manifests WHERE number = 3')).toEqual([
    ['chain 3', expect.stringMatching(/^missing 3 missing /)],
    ['anchor 3'],
  ]);
  expect(await tamper('DELETE FROM events_manifests WHERE number = 2')).toEqual([
    ['chain 2'],
    ['chain 3', 'anchor 2', 'unwitnessed -'],
  ]);
  expect(await tamper("ALTER TABLE events_manifests UPDATE witnessed = repeat('a', 64) WHERE number = 1")).toEqual([
    ['chain 1', 'signature 1'],
    ['chain 1', 'signature 1', 'altered 1'],
  ]);
  // a forger has no key
  expect(await tamper("ALTER TABLE events_manifests UPDATE signature = '', key_id = '' WHERE number = 2")).toEqual([
    ['chain 2', 'signature 2'],
    ['chain 2', 'signature 2'],
  ]);
  expect(await audit(outbox, { keys, anchor })).toMatchObject({ intact: true, faults: [] });
});

test.concurrent('an hour is closed once every transaction that began before its end is over', async () => {
  await using outbox = await Outbox.create({ migrated: false });
  const db = await Database.connect(outbox.databaseUrl, {}, () => undefined);
  const client = await outbox.postgres.connect();
  await client.query('BEGIN');
  await client.query('SELECT 1');
  const hour = (): number => Math.floor(Date.now() / 3_600_000);
  const closed = new ClosedHours();
  const before = hour();
  // what is open for longer than a day is not waited for
  expect([before - 24, hour() - 24]).toContain(await closed.until(db));
  await client.query('COMMIT');
  expect(await closed.until(db)).toBeGreaterThanOrEqual(before - 1);
  client.release();
  await db.close();
});

test.concurrent('each share of an outbox in another schema has a chain of its own', async () => {
  await using outbox = await Outbox.create({ migrated: false });
  const schema = outbox.slot.replace('t_', 'b_');
  const shares = ['1/2', '2/2'].map((share, index) => ({
    ...environment(outbox),
    ...OFF,
    OUTBOX_SCHEMA: schema,
    OUTBOX_SLOT: '',
    OUTBOX_SHARD: share,
    OUTBOX_CLICKHOUSE_TABLE: `events_${index + 1}`,
  }));
  const quiet = (): void => undefined;
  for (const { OUTBOX_CLICKHOUSE_TABLE: table } of shares)
    await migrateClickHouse(outbox.clickhouseUrl, { table }, quiet);
  await migratePostgres(
    { databaseUrl: outbox.databaseUrl, databasePasswordCommand: '', schema },
    `${schema}_1_of_2`,
    quiet,
  );
  const streamers = shares.map((share) => outbox.stream(share));
  await outbox.postgres.query(
    `INSERT INTO ${schema}.event (event_type, event_context, recorded_at, bucket)
     SELECT 'shared', '{}', at, (extract(epoch FROM at)::bigint / 86400) % 32 FROM generate_series(1, 100), (SELECT now() - interval '3 hours' AS at) t`,
  );
  const all = 'SELECT (SELECT count() FROM events_1) + (SELECT count() FROM events_2) AS n';
  await eventually('all are delivered', async () => (await outbox.select<{ n: number }>(all))[0]!.n === 100, 60_000);
  const made = await Promise.all(shares.map(async (share) => make(outbox, new Manifests(readConfig(share)))));
  expect(made.map(({ trouble, manifests }) => [trouble, manifests.length, manifests[0]?.number])).toEqual([
    [undefined, 1, 1],
    [undefined, 1, 1],
  ]);
  expect(made.reduce((sum, { manifests }) => sum + manifests[0]!.events, 0)).toBe(100);
  // each is erased where its rows are, and the first one takes all from Postgres
  const filter = { subjects: [], ids: [], types: ['shared'], environments: [] };
  const erased: number[] = [];
  for (const share of shares) {
    await using eraser = await Eraser.open(readConfig(share), {
      filter,
      sources: [],
      waitMs: 60_000,
      insertLivesMs: 0,
    });
    const { outbox: removed, events } = await eraser.erase('a test', quiet);
    erased.push(removed, events);
  }
  expect(erased).toEqual([100, made[0]!.manifests[0]!.events, 0, made[1]!.manifests[0]!.events]);
  for (const share of shares)
    expect(
      await verifyManifests(readConfig(share), { window: ALL, anchor: '', keys: '', limit: 5, asksPostgres: true }),
    ).toMatchObject({ intact: true, postgres: 'asked', sources: [{ manifests: 1, hours: 1 }] });
  await Promise.all(streamers.map(async (streamer) => streamer.kill()));
  await eventually('their slots are dropped', async () => {
    const { rows } = await outbox.postgres.query(
      'SELECT slot_name AS name, active FROM pg_replication_slots WHERE starts_with(slot_name, $1)',
      [schema],
    );
    for (const { name, active } of rows)
      if (!active) await outbox.postgres.query('SELECT pg_drop_replication_slot($1)', [name]);
    return rows.length === 0;
  });
});

test.concurrent('what is erased still adds up, and a tombstone that somebody invents does not', async () => {
  await using outbox = await delivered();
  await make(outbox);
  const filter = { subjects: [], ids: [idOf(3, 7), idOf(2, 9)], types: [], environments: [] };
  const config = readConfig(environment(outbox));
  await using eraser = await Eraser.open(config, { filter, sources: [], waitMs: 60_000, insertLivesMs: 0 });
  expect(await eraser.erase('a test', () => undefined)).toMatchObject({ outbox: 2, events: 2 });
  const intact = { intact: true, faults: [] };
  expect(await audit(outbox)).toMatchObject(intact);
  expect((await make(outbox)).made).toBe(0);
  // one that was killed may have written them twice
  await change(outbox, 'SYSTEM STOP MERGES events_erased', 'INSERT INTO events_erased SELECT * FROM events_erased');
  expect(await audit(outbox, { asksPostgres: false })).toMatchObject(intact);

  const forged = (id: string): string =>
    `INSERT INTO events_erased SELECT ${id}, source, toStartOfHour(recorded_at), ${TABLE_WITNESSED}, ${TABLE_DELIVERED} FROM events WHERE event_id = '${idOf(3, 8)}'`;
  await change(
    outbox,
    forged('(SELECT any(erasure) FROM events_erasures)'),
    `DELETE FROM events WHERE event_id = '${idOf(3, 8)}'`,
  );
  expect(await audit(outbox, { asksPostgres: false })).toMatchObject({ intact: false, faults: ['erasure -'] });
  await change(outbox, "ALTER TABLE events_erasures UPDATE events = 3, tombstones = 'x' WHERE 1");
  expect(await audit(outbox)).toMatchObject({ intact: false, faults: ['erasure -'] });

  // what may have expired is not missing
  await change(outbox, `DELETE FROM events WHERE event_id = '${idOf(3, 1)}'`);
  expect(await audit(outbox)).toMatchObject({ faults: [expect.stringMatching(/^missing 1/), 'erasure -'] });
  await change(outbox, 'ALTER TABLE events MODIFY TTL toDateTime(committed_at) + INTERVAL 1 HOUR');
  expect(await audit(outbox)).toMatchObject({ faults: ['erasure -'], report: { sources: [{ expired: 1 }] } });
});
