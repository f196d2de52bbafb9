import { afterEach, beforeEach, expect, test } from 'vitest';
import { command } from '../support/command.ts';
import { Outbox } from '../support/outbox.ts';
import { eventually } from '../support/wait.ts';

/** The table that teams have who insert their events by themselves. */
const FIVE_COLUMNS = `CREATE TABLE events (event_type String, event_date_time DateTime, environment String, event_context JSON, metadata_version UInt64)
  ENGINE = MergeTree ORDER BY (event_type, event_date_time)`;
const COUNTED = [
  'CREATE TABLE counted (event_type String, n UInt64) ENGINE = SummingMergeTree ORDER BY event_type',
  'CREATE MATERIALIZED VIEW counting TO counted AS SELECT event_type, count() AS n FROM events GROUP BY event_type',
];
const YES = ['migrate', '--adopt', '--yes'];

let outbox: Outbox;

beforeEach(async () => {
  outbox = await Outbox.create({ migrated: false });
});
afterEach(() => outbox[Symbol.asyncDispose]());

async function run(...queries: string[]): Promise<void> {
  for (const query of queries) await outbox.clickhouse.command({ query });
}

const oldRows = (count: number): string =>
  `INSERT INTO events (event_type, event_date_time, environment, event_context, metadata_version)
   SELECT 'old', toDateTime('2024-01-01 00:00:00') + number, 'prod', toJSONString(map('n', number)), 18446744073709551615 - number FROM numbers(${count})`;
const OLD_DIGEST = `SELECT toString(sum(cityHash64(event_type, event_date_time, environment, toString(event_context), metadata_version))) AS digest, count() AS n
   FROM events WHERE source = ''`;

test('`migrate --adopt` makes a table of five columns one that takes events once, beside old rows, a view and direct inserts', async () => {
  await run(FIVE_COLUMNS, ...COUNTED, oldRows(100_000));
  const before = await outbox.select(OLD_DIGEST.replace("WHERE source = ''", ''));
  const layout = await outbox.select(
    "SELECT name, type FROM system.columns WHERE table = 'events' AND database = currentDatabase()",
  );

  // nobody can be asked here
  const shown = await command(outbox, ['migrate', '--adopt']).done;
  expect(shown).toMatchObject({
    code: 1,
    stdout: expect.stringContaining('Nothing was changed: no terminal to ask on'),
  });
  for (const text of ['ADD COLUMN event_id UUID', 'by_subject', 'counted', 'whole seconds', 'deduplicate_insert'])
    expect(shown.stdout).toContain(text);
  const { rows: untouched } = await outbox.postgres.query("SELECT to_regclass('outbox.event') AS event");
  expect(untouched).toEqual([{ event: null }]);

  expect(await command(outbox, YES).done).toMatchObject({ code: 0 });
  expect(await outbox.select(OLD_DIGEST)).toEqual(before);
  const after = await outbox.select(
    "SELECT name, type FROM system.columns WHERE table = 'events' AND database = currentDatabase()",
  );
  expect(after.slice(0, layout.length)).toEqual(layout);
  expect(await command(outbox, YES).done).toMatchObject({ code: 0, stdout: expect.not.stringContaining('adopted') });

  const streamer = outbox.stream();
  await streamer.attached();
  await outbox.postgres.query(`
    SELECT outbox.emit('new', json_build_object('n', n), event_date_time => '2026-01-31 12:00:00.75Z', subject => 'order/' || n,
                       metadata_version => 9223372036854775807) FROM generate_series(1, 100) n`);
  await run(`INSERT INTO events (event_type, event_date_time, environment, event_context, metadata_version)
             VALUES ('direct', now(), 'prod', '{"n":1}', 1)`);
  await outbox.untilDelivered(101);
  expect(
    await outbox.select(`SELECT event_type, toString(max(event_date_time)) AS at, sum(event_context.n::UInt64) AS n, count() AS rows,
                                toString(max(metadata_version)) AS version FROM events WHERE event_type != 'old' GROUP BY event_type ORDER BY event_type`),
  ).toMatchObject([
    { event_type: 'direct', n: 1, rows: 1, version: '1' },
    { event_type: 'new', at: '2026-01-31 12:00:00', n: 5050, rows: 100, version: '9223372036854775807' },
  ]);
  await eventually('the view has all', async () => {
    const [counted] = await outbox.select<{ n: number }>("SELECT sum(n) AS n FROM counted WHERE event_type = 'new'");
    return counted!.n === 100;
  });
  expect(await command(outbox, ['verify']).done).toMatchObject({ code: 0 });
  expect(await command(outbox, ['repair', '--dry-run', '--json']).done).toMatchObject({
    code: 0,
    stdout: expect.stringContaining('"missing": 0'),
  });
  expect(streamer.output).not.toContain('OUTBOX_CH_VIEW_FORGETS');
  const { stdout } = await command(outbox, ['doctor', '--json']).done;
  const wrong = (JSON.parse(stdout) as { findings: { id: string; level: string }[] }).findings.filter(
    ({ id, level }) => id.startsWith('clickhouse.') && level === 'error',
  );
  expect(wrong).toEqual([]);
});

function table(...columns: string[]): string {
  const all = new Map(
    [
      'event_type String',
      "event_date_time DateTime64(6, 'UTC')",
      'environment String',
      'event_context JSON',
      'metadata_version UInt64',
      ...columns,
    ].map((definition) => [definition.split(' ', 1)[0]!, definition]),
  );
  return `CREATE TABLE events (${[...all.values()].join(', ')})`;
}

/** Each with what is told of it, and what it holds of 2026-01-31 12:00:00.123456Z; it takes `taken` of three events, see below. */
test.each([
  {
    columns: [
      'event_date_time DateTime64(3)',
      'event_type LowCardinality(Nullable(String))',
      'event_context String',
      'metadata_version UInt16',
    ],
    costs: ['steps of 1000 microseconds', 'need JSONExtract', 'UInt16 does not hold goes to quarantine'],
    at: '2026-01-31 12:00:00.123',
    taken: 2,
  },
  {
    columns: [
      "event_date_time DateTime64(9, 'Asia/Kathmandu')",
      "environment Enum8('prod' = 1, 'test' = 2)",
      'event_context JSON(max_dynamic_paths = 8, a UInt32) DEFAULT \'{"a":7}\'',
      'metadata_version Int32',
    ],
    costs: ['environment is not in the Enum8 goes to quarantine', 'Int32 does not hold goes to quarantine'],
    at: '2026-01-31 17:45:00.123456000',
    taken: 2,
  },
  {
    columns: ['event_date_time Nullable(DateTime)', 'environment LowCardinality(String)', 'metadata_version Int64'],
    costs: ['whole seconds, and moves a date before 1970'],
    at: '2026-01-31 12:00:00',
    taken: 3,
  },
])('a table with $columns is adopted, and what it costs is told', async ({ columns, costs, at, taken }) => {
  await run(
    `${table(...columns)} ENGINE = MergeTree ORDER BY tuple()`,
    "INSERT INTO events (event_type, environment, metadata_version) VALUES ('old', 'prod', 3)",
  );
  const adopted = await command(outbox, YES).done;
  expect(adopted.code).toBe(0);
  for (const cost of costs) expect(adopted.stdout).toContain(cost);
  const streamer = outbox.stream();
  await streamer.attached();
  const emit = (environment: string, version: number): string =>
    `SELECT outbox.emit('new', '{"a":1}', event_date_time => '2026-01-31 12:00:00.123456Z', environment => '${environment}', metadata_version => ${version})`;
  await outbox.postgres.query(`${emit('test', 1)}; ${emit('other', 70_000)}; ${emit('test', 2)}`);
  await eventually('each is there, or set aside', async () => {
    const { rows } = await outbox.postgres.query<{ n: number }>('SELECT count(*)::int AS n FROM outbox.quarantine');
    return rows[0]!.n === 3 - taken && (await outbox.delivered()).rows === taken + 1;
  });
  const rows = await outbox.select<{ at: string; a: string }>(
    "SELECT DISTINCT toString(event_date_time) AS at, JSONExtractString(toString(event_context), 'a') AS a FROM events WHERE source != ''",
  );
  expect(rows).toEqual([{ at, a: '1' }]);
  const again = await command(outbox, ['quarantine', 'retry', '--all']).done;
  expect([again.code, again.stdout.includes('1 rejected again')]).toEqual(taken === 3 ? [0, false] : [1, true]);
  expect(await command(outbox, ['verify']).done).toMatchObject({ code: 0 });
  expect(await outbox.select("SELECT event_type, metadata_version AS v FROM events WHERE source = ''")).toEqual([
    { event_type: 'old', v: 3 },
  ]);
});

test('a table whose columns have other names is adopted, and its own queries and inserts go on', async () => {
  await run(
    `CREATE TABLE events (kind LowCardinality(String), at DateTime DEFAULT now(), stage String, payload JSON, v UInt8)
     ENGINE = MergeTree ORDER BY (kind, at)`,
    `INSERT INTO events (kind, at, stage, payload, v) VALUES ('old', '2024-01-01 00:00:00', 'prod', '{"n":1}', 1)`,
  );
  const columns = 'kind=event_type,at=event_date_time,stage=environment,payload=event_context,v=metadata_version';
  expect(await command(outbox, [...YES, '--columns', columns.replace('kind', 'sort')]).done).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('there is no column sort'),
  });
  expect(await command(outbox, [...YES, '--columns', columns]).done).toMatchObject({ code: 0 });
  const streamer = outbox.stream();
  await streamer.attached();
  await outbox.postgres.query(`
    SELECT outbox.emit('new', '{"n":2}', event_date_time => '2026-01-31 12:00:00.5Z', environment => 'test', metadata_version => 2);
    SELECT outbox.emit('new', '{"n":3}', metadata_version => 300)`);
  await run(`INSERT INTO events (kind, stage, payload, v) VALUES ('direct', 'prod', '{"n":4}', 4)`);
  await eventually('one is set aside', async () => {
    const { rows } = await outbox.postgres.query('SELECT FROM outbox.quarantine');
    return rows.length === 1 && (await outbox.delivered()).rows === 3;
  });
  expect(
    await outbox.select(
      'SELECT kind, toYear(at) >= 2024 AS dated, stage, payload.n::UInt8 AS n, v, event_context.n::UInt8 AS same FROM events ORDER BY v',
    ),
  ).toEqual([
    { kind: 'old', dated: 1, stage: 'prod', n: 1, v: 1, same: 1 },
    { kind: 'new', dated: 1, stage: 'test', n: 2, v: 2, same: 2 },
    { kind: 'direct', dated: 1, stage: 'prod', n: 4, v: 4, same: 4 },
  ]);
  expect(await command(outbox, ['verify']).done).toMatchObject({ code: 0 });
});

test('a table that only other types or another engine would help is not adopted, and nothing of it is changed', async () => {
  for (const [engine, column, why] of [
    ['ReplacingMergeTree', 'environment String', 'its engine is ReplacingMergeTree'],
    ['MergeTree', 'event_date_time Date', 'event_date_time is Date'],
    ['MergeTree', 'metadata_version Float64', 'metadata_version is Float64'],
    ['MergeTree', 'event_id UInt64', 'event_id is UInt64'],
    ['MergeTree', 'event_type Int8', 'event_type is Int8'],
    ['MergeTree', 'subject UInt64', 'subject is UInt64'],
    ['MergeTree', 'event_context Map(String, String)', 'event_context is Map(String, String)'],
  ] as const) {
    await run('DROP TABLE IF EXISTS events SYNC', `${table(column)} ENGINE = ${engine} ORDER BY tuple()`);
    const definition =
      "SELECT create_table_query FROM system.tables WHERE name = 'events' AND database = currentDatabase()";
    const before = await outbox.select(definition);
    const refused = await command(outbox, YES).done;
    expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining('OUTBOX_CH_TABLE_UNSUITABLE') });
    expect(refused.stderr).toContain(why);
    expect(await outbox.select(definition)).toEqual(before);
  }
});
