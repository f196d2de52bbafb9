import { expect, test } from 'vitest';
import { emitEvents } from '../../src/app/index.ts';
import { Outbox } from '../support/outbox.ts';

const TEXTS = [
  'o\'rder "placed" `x` \\ \\\\ \\\' \\n %s $1 {0} ?',
  'line\nfeed\r\ntab\ttab\v\f\u0001\u001f\u007f',
  ' leading and trailing ',
  'NULL',
  '\\N',
  '{a,"b"}',
  "'; DROP TABLE events; --",
  '😀👩‍👩‍👧‍👦 é e\u0301 İ \u200b\u202e\ufeff',
  '\uffff\ufdd0\u{10ffff}',
  'x'.repeat(65_535),
  '𝄞'.repeat(16_383),
];

test('the streamer delivers types and environments of any text unchanged, from raw SQL and from emitEvents', async () => {
  await using outbox = await Outbox.create();
  const streamer = outbox.stream();
  await streamer.attached();
  const insert = "INSERT INTO outbox.event (event_type, environment, event_context) VALUES ($1, $2, '{}')";
  for (const text of TEXTS) await outbox.postgres.query(insert, [text, text]);
  for (const refused of [
    ['', ''],
    ['x'.repeat(65_536), ''],
    ['x', 'x'.repeat(65_536)],
  ])
    await expect(outbox.postgres.query(insert, refused)).rejects.toMatchObject({ code: '23514' });
  const client = await outbox.postgres.connect();
  await client.query('BEGIN');
  await emitEvents(
    client,
    TEXTS.map((text) => ({ type: text, environment: text, context: {} })),
  );
  await client.query('COMMIT');
  client.release();
  await outbox.untilDelivered(TEXTS.length * 2);
  expect(await streamer.stop()).toBe(0);
  const rows = await outbox.select<{ type: string; environment: string }>(
    'SELECT event_type AS type, environment FROM events ORDER BY lsn, seq',
  );
  const pairs = TEXTS.map((text) => ({ type: text, environment: text }));
  expect(rows).toEqual([...pairs, ...pairs]);
});

/** As written in SQL, and as ClickHouse shows it, in UTC; the clamped ones are in delivery.test.ts. */
const TIMES: readonly (readonly [string, string])[] = [
  ['1900-01-01 00:00:00.000001+00', '1900-01-01 00:00:00.000001'],
  ['1969-12-31 23:59:59.999999+00', '1969-12-31 23:59:59.999999'],
  ['1970-01-01 00:00:00+00', '1970-01-01 00:00:00.000000'],
  ['1999-12-31 23:59:59.999999+00', '1999-12-31 23:59:59.999999'],
  ['2000-01-01 00:00:00+00', '2000-01-01 00:00:00.000000'],
  ['2000-01-01 00:00:00.000001+00', '2000-01-01 00:00:00.000001'],
  ['2024-02-29 12:34:56.123456+00', '2024-02-29 12:34:56.123456'],
  ['2016-12-31 23:59:60+00', '2017-01-01 00:00:00.000000'],
  ['2038-01-19 03:14:08+00', '2038-01-19 03:14:08.000000'],
  ['2299-12-31 23:59:59.999999+00', '2299-12-31 23:59:59.999999'],
  // the hour that does not exist, and the one that exists twice
  ['2024-03-31 01:59:59.999999 Europe/Berlin', '2024-03-31 00:59:59.999999'],
  ['2024-03-31 02:30:00 Europe/Berlin', '2024-03-31 01:30:00.000000'],
  ['2024-03-31 03:00:00 Europe/Berlin', '2024-03-31 01:00:00.000000'],
  ['2024-10-27 02:30:00+02', '2024-10-27 00:30:00.000000'],
  ['2024-10-27 02:30:00+01', '2024-10-27 01:30:00.000000'],
  ['2024-10-27 02:30:00 Europe/Berlin', '2024-10-27 01:30:00.000000'],
  ['2024-06-01 00:00:00 Pacific/Kiritimati', '2024-05-31 10:00:00.000000'],
  ['2024-06-01 00:00:00-15:59:59', '2024-06-01 15:59:59.000000'],
];

const VERSIONS = ['0', '2147483648', '9007199254740993', '9223372036854775807'];

test('the streamer delivers times to the microsecond in any session time zone, and metadata versions unchanged', async () => {
  await using outbox = await Outbox.create();
  const streamer = outbox.stream();
  await streamer.attached();
  const client = await outbox.postgres.connect();
  await client.query("SET TimeZone = 'Asia/Kathmandu'; SET DateStyle = 'German'");
  for (const [time] of TIMES)
    await client.query("INSERT INTO outbox.event (event_type, event_date_time, event_context) VALUES ('t', $1, '{}')", [
      time,
    ]);
  for (const version of VERSIONS)
    await client.query(
      "INSERT INTO outbox.event (event_type, metadata_version, event_context) VALUES ('version', $1, '{}')",
      [version],
    );
  await client.query('RESET ALL');
  client.release();
  await outbox.untilDelivered(TIMES.length + VERSIONS.length);
  expect(await streamer.stop()).toBe(0);
  const times = await outbox.select<{ time: string }>(
    "SELECT toString(event_date_time) AS time FROM events WHERE event_type = 't' ORDER BY lsn",
  );
  expect(times.map(({ time }) => time)).toEqual(TIMES.map(([, shown]) => shown));
  const versions = await outbox.select<{ v: string }>(
    "SELECT toString(metadata_version) AS v FROM events WHERE event_type = 'version' ORDER BY lsn",
  );
  expect(versions.map(({ v }) => v)).toEqual(VERSIONS);
  expect(streamer.output).not.toContain('clamped');
});

/** The caller chooses the text of traceparent. Only a well-formed one may give the event a trace. */
test('the streamer delivers events with any text as traceparent, and takes no trace from a malformed one', async () => {
  await using outbox = await Outbox.create();
  const streamer = outbox.stream();
  const ids = ['0af7651916cd43dd8448eb211c80319c', 'b7ad6b7169203331'] as const;
  const good = `00-${ids.join('-')}-01`;
  const given = [good, '', '-', '00', 'x'.repeat(512), good.slice(0, 54), 'é'.repeat(55), `${good}-more`, null];
  for (const traceparent of given)
    await outbox.postgres.query(
      "INSERT INTO outbox.event (event_type, event_context, traceparent) VALUES ('t', '{}', $1)",
      [traceparent],
    );
  await outbox.untilDelivered(given.length);
  expect(await streamer.stop()).toBe(0);
  const rows = await outbox.select<{ trace: string; span: string }>(
    'SELECT trace_id AS trace, span_id AS span FROM events ORDER BY lsn',
  );
  const [none, named] = [
    { trace: '', span: '' },
    { trace: ids[0], span: ids[1] },
  ];
  expect(rows).toEqual([named, none, none, none, none, none, none, named, none]);
});

test('the streamer delivers UTF-8 from a database of another encoding', async () => {
  await using outbox = await Outbox.create({
    createOptions: "ENCODING 'LATIN1' LOCALE 'C' LOCALE_PROVIDER libc TEMPLATE template0",
  });
  const streamer = outbox.stream();
  const context = '{"s":"Ärger, £5, ÿ"}';
  await outbox.postgres.query('INSERT INTO outbox.event (event_type, environment, event_context) VALUES ($1, $1, $2)', [
    'größe',
    context,
  ]);
  await expect(
    outbox.postgres.query("INSERT INTO outbox.event (event_type, event_context) VALUES ('t', $1)", ['{"s":"€"}']),
  ).rejects.toMatchObject({ code: '22P05' });
  await outbox.untilDelivered(1);
  expect(await streamer.stop()).toBe(0);
  expect(await outbox.select('SELECT event_type, environment, event_context_text FROM events')).toEqual([
    { event_type: 'größe', environment: 'größe', event_context_text: context },
  ]);
});

test.each([
  ['SQL_ASCII', 255, '22021'],
  ['WIN1252', 129, '22P05'],
])(
  'an event that cannot be read as UTF-8 is refused to who writes it, in a database of the encoding %s',
  async (encoding, code, sqlState) => {
    await using outbox = await Outbox.create({
      createOptions: `ENCODING '${encoding}' LOCALE 'C' LOCALE_PROVIDER libc TEMPLATE template0`,
    });
    const streamer = outbox.stream();
    // the walsender would stop at it, and never come to the events behind it
    for (const column of ['event_type', 'environment', 'subject', 'traceparent', 'tracestate'])
      await expect(
        outbox.postgres.query(
          `INSERT INTO outbox.event (${column === 'event_type' ? '' : 'event_type, '}${column}, event_context)
         VALUES (${column === 'event_type' ? '' : "'t', "}'canary' || chr(${code}), '{}')`,
        ),
      ).rejects.toMatchObject({ code: sqlState });
    await expect(
      outbox.postgres.query(`SELECT outbox.emit('t', json_build_object('s', chr(${code})))`),
    ).rejects.toMatchObject({ code: sqlState });
    const context = '{"s":"€"}';
    await outbox.postgres.query("INSERT INTO outbox.event (event_type, event_context) VALUES ('größe', $1)", [context]);
    await outbox.untilDelivered(1);
    expect(await streamer.stop()).toBe(0);
    expect(await outbox.select('SELECT event_type, event_context_text FROM events')).toEqual([
      { event_type: 'größe', event_context_text: context },
    ]);
  },
);
