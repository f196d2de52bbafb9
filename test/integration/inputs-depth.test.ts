import { readFile, writeFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { startClickHouse } from '../../src/embedded/clickhouse.ts';
import { Outbox } from '../support/outbox.ts';

const WIDE = `{${Array.from({ length: 300 }, (_, i) => `"k${i}":${i}`).join()}}`;
const deep = (open: string, levels: number): string => `{"a":${open.repeat(levels)}1${']'.repeat(levels)}}`;

/**
 * ClickHouse parses the name of an array's type again when the path has no column of its own. It rejects a name of more than
 * 300 nodes, with code 167 or 306. emitEvent rejects such contexts. Raw SQL can insert them, and the table's DEFAULT does not
 * type them.
 */
test('the streamer delivers arrays nested 200 deep beside many other paths (invariant 7)', async () => {
  await using outbox = await Outbox.create();
  for (const context of [WIDE, deep('[', 200)])
    await outbox.postgres.query("INSERT INTO outbox.event (event_type, event_context) VALUES ('t', $1)", [context]);
  const streamer = outbox.stream();
  const answer = await streamer.log(({ msg }) => msg === 'batch delivered' || msg.startsWith('insert failed'));
  expect(answer.err?.code).toBeUndefined();
});

/** Parts that ClickHouse cannot merge pile up, until it rejects inserts. */
test('ClickHouse can merge arrays nested 200 deep with others of the same path (invariant 7)', async () => {
  await using outbox = await Outbox.create();
  const levels = [...Array.from({ length: 40 }, (_, i) => i + 1), 200];
  const streamer = outbox.stream();
  for (const n of levels)
    await outbox.postgres.query("INSERT INTO outbox.event (event_type, event_context) VALUES ('t', $1)", [
      deep('[', n),
    ]);
  await outbox.untilDelivered(levels.length);
  expect(await streamer.stop()).toBe(0);
  await outbox.clickhouse.command({ query: 'OPTIMIZE TABLE events FINAL SETTINGS optimize_throw_if_noop = 1' });
});

/** What users send in a few kB: with the files of Wide parts, ClickHouse cannot merge it, and rejects all inserts in the end. */
test('arrays of mixed values nested more than 10 deep are not typed, and a part of hostile keys has few files', async () => {
  await using outbox = await Outbox.create();
  const { clickhouse } = outbox;
  const mixed = (levels: number): unknown => (levels === 0 ? 's' : [1, mixed(levels - 1), 'a', 1.5, true]);
  const paths = (count: number, value: unknown): object =>
    Object.fromEntries(Array.from({ length: count }, (_, n) => [`key${n}`, value]));
  const tree = (levels: number): unknown => (levels === 0 ? [] : [{ text: 'a', children: tree(levels - 1) }]);
  const point = [1.5, 2.5];
  const typed = [
    paths(20, mixed(10)),
    paths(40, [paths(32, 1)]),
    { type: 'MultiPolygon', coordinates: [[Array.from({ length: 3000 }, () => point)]] },
    { children: tree(30) },
    { note: '[[[[[[[[[[[[', say: '":[' },
  ];
  const untyped = [paths(40, mixed(97)), paths(1, mixed(11)), { 'say ":[],[': ['":['.repeat(20), mixed(11)] }];
  const values = [...typed, ...untyped].flatMap((context, lsn) =>
    // as JavaScript and as Python write it
    [JSON.stringify(context), JSON.stringify(context).replaceAll('],[', '], [').replaceAll('":[', '": [')].map(
      (event_context_text) => ({ lsn, event_context_text }),
    ),
  );
  await clickhouse.insert({ table: 'events', columns: ['lsn', 'event_context_text'], values, format: 'JSONEachRow' });
  const rows = await outbox.select<{ typed: number }>(
    "SELECT toString(event_context) != '{}' AS typed FROM events GROUP BY lsn, typed ORDER BY lsn",
  );
  expect(rows.map((row) => row.typed)).toEqual([...typed.map(() => 1), ...untyped.map(() => 0)]);
  await clickhouse.command({ query: 'OPTIMIZE TABLE events FINAL' });
  const [part] = await outbox.select<{ files: string }>(
    "SELECT max(files) AS files FROM system.parts WHERE database = currentDatabase() AND table = 'events' AND active",
  );
  expect(Number(part?.files)).toBeLessThan(100);
});

test('contexts of more than 4096 keys are stored as their text alone, and ClickHouse can merge them with others', async () => {
  await using outbox = await Outbox.create();
  const streamer = outbox.stream();
  const items = (count: number): object => ({
    items: Array.from({ length: count }, (_, n) => ({ [n.toString(36)]: 1 })),
  });
  for (const context of [items(4000), items(25_000), { few: 1 }, { text: ': '.repeat(5000) }])
    await outbox.postgres.query("INSERT INTO outbox.event (event_type, event_context) VALUES ('t', $1)", [
      JSON.stringify(context),
    ]);
  await outbox.untilDelivered(4);
  expect(await streamer.stop()).toBe(0);
  const typed = await outbox.select<{ typed: number }>(
    'SELECT toUInt32(length(toString(event_context)) > 2) AS typed FROM events ORDER BY lsn',
  );
  expect(typed.map((row) => row.typed)).toEqual([1, 0, 1, 1]);
  await outbox.clickhouse.command({ query: 'OPTIMIZE TABLE events FINAL' });
});

/** With ClickHouse's default it takes 1.4 GB: a buffer for each path. */
test.runIf(process.platform === 'linux')(
  'ClickHouse merges events whose keys no other event has in little memory',
  async () => {
    await using server = await startClickHouse();
    await using outbox = await Outbox.create({ clickhouseUrl: server.url });
    const { clickhouse } = outbox;
    await clickhouse.command({ query: 'SYSTEM STOP MERGES events' });
    for (let event = 0; event < 8; event++) {
      const items = Array.from({ length: 1000 }, (_, n) => ({ [`${event} ${n}`]: 1 }));
      const values = [{ event_context_text: JSON.stringify({ items }) }];
      await clickhouse.insert({ table: 'events', columns: ['event_context_text'], values, format: 'JSONEachRow' });
    }
    await clickhouse.command({ query: 'SYSTEM START MERGES events' });
    const kilobytes = async (name: string): Promise<number> =>
      Number(new RegExp(`${name}:\\s+(\\d+)`).exec(await readFile(`/proc/${server.pid}/status`, 'utf8'))?.[1]);
    // its highest is counted again
    await writeFile(`/proc/${server.pid}/clear_refs`, '5');
    const before = await kilobytes('VmRSS');
    await clickhouse.command({ query: 'OPTIMIZE TABLE events FINAL' });
    expect((await kilobytes('VmHWM')) - before).toBeLessThan(300_000);
  },
);

test('the streamer delivers long keys above many others, whose paths would be thousands of times as long, beside other events', async () => {
  await using outbox = await Outbox.create();
  const streamer = outbox.stream();
  const many = Object.fromEntries(Array.from({ length: 4000 }, (_, n) => [String(n), 1]));
  const expanding = JSON.stringify({ ['k'.repeat(50_000)]: many });
  const rows = Array.from({ length: 300 }, (_, n) => [`key ${n} of many that are not short`, { value: `${n}` }]);
  const large = JSON.stringify({ nested: { deeper: Object.fromEntries(rows) } });
  for (const context of [expanding, large])
    await outbox.postgres.query("INSERT INTO outbox.event (event_type, event_context) VALUES ('t', $1)", [context]);
  await outbox.untilDelivered(2);
  expect(await streamer.stop()).toBe(0);
  expect(
    await outbox.select<{ bytes: number; typed: number }>(
      'SELECT toUInt32(length(event_context_text)) AS bytes, toUInt32(length(toString(event_context)) > 2) AS typed FROM events ORDER BY lsn',
    ),
  ).toEqual([
    { bytes: expanding.length, typed: 0 },
    { bytes: large.length, typed: 1 },
  ]);
});
