import { expect, test } from 'vitest';
import { emitEvent } from '../../src/app/index.ts';
import { startPostgres } from '../../src/embedded/postgres.ts';
import { Gateway } from '../support/gateway.ts';
import { Outbox } from '../support/outbox.ts';
import { eventually } from '../support/wait.ts';

test('the streamer delivers what is committed and nothing that is rolled back (invariant 1)', async () => {
  await using outbox = await Outbox.create();
  const streamer = outbox.stream();
  await streamer.attached();
  const client = await outbox.postgres.connect();
  const ids: string[] = [];
  for (const outcome of ['COMMIT', 'ROLLBACK', 'COMMIT']) {
    await client.query('BEGIN');
    const id = await emitEvent(client, { type: 'order.placed', context: { outcome } });
    await client.query('SAVEPOINT before');
    await emitEvent(client, { type: 'order.undone', context: {} });
    await client.query('ROLLBACK TO SAVEPOINT before');
    await client.query(outcome);
    if (outcome === 'COMMIT') ids.push(id);
  }
  client.release();
  await outbox.untilDelivered(2);
  expect(await streamer.stop()).toBe(0);
  const rows = await outbox.select<{ event_id: string }>('SELECT event_id FROM events ORDER BY lsn, seq');
  expect(rows.map((row) => row.event_id)).toEqual(ids);
});

test('the streamer delivers every field as emitEvent received it', async () => {
  await using outbox = await Outbox.create();
  const streamer = outbox.stream();
  await streamer.attached();
  const client = await outbox.postgres.connect();
  await client.query('BEGIN');
  const time = new Date('2024-02-29T23:59:59.123Z');
  const id = '01890a5d-ac96-774b-bcce-b302099a8057';
  const type = 'order.„plačed“ \'"\\\n\t🛒';
  const context = {
    name: 'Ünïcode 🎉',
    nul: '\u0000',
    quote: '"\'\\',
    nested: { list: [1, 2.5, null, 'x'], empty: {} },
  };
  await emitEvent(client, {
    id,
    type,
    time,
    context,
    environment: 'tést',
    metadataVersion: 2n ** 63n - 1n,
    subject: 'bestellung/7',
  });
  await client.query('COMMIT');
  client.release();
  await outbox.untilDelivered(1);
  expect(await streamer.stop()).toBe(0);
  const [row] = await outbox.select<Record<string, unknown>>(
    `SELECT event_id, event_type, toString(event_date_time) AS event_date_time, environment, toString(metadata_version) AS metadata_version, subject, event_context_text AS text,
            event_context.nested.list AS list, trace_id, span_id, recorded_by, origin, seq, source,
            recorded_at <= committed_at AND recorded_at > committed_at - INTERVAL 1 MINUTE AS is_recorded,
            abs(dateDiff('second', committed_at, now('UTC'))) < 120 AND delivered_at >= toDateTime64(committed_at, 3) AS is_recent
       FROM events`,
  );
  const { rows } = await outbox.postgres.query('SELECT system_identifier AS id FROM pg_control_system()');
  expect(row).toEqual({
    event_id: id,
    event_type: type,
    event_date_time: '2024-02-29 23:59:59.123000',
    environment: 'tést',
    metadata_version: '9223372036854775807',
    subject: 'bestellung/7',
    text: JSON.stringify(context),
    list: expect.anything(),
    trace_id: '',
    span_id: '',
    recorded_by: 'postgres',
    origin: 'stream',
    seq: 1,
    source: `${rows[0].id}/${outbox.slot}`,
    is_recorded: 1,
    is_recent: 1,
  });
});

const ODD_CONTEXTS = [
  '{"a":1,"a":2}',
  '{"n":123456789012345678901234567890}',
  '{"e":1e400}',
  '{"a":[1,2,3]}',
  '{"lone":"\\ud800"}',
  '{"nul":"\\u0000"}',
  '{"":"empty key"}',
  '{"a.b":1,"a":{"b":2}}',
  ` { "spaces" :   [ ] } `,
  `{"deep":${'['.repeat(1500)}${']'.repeat(1500)}}`,
  `{"long":"${'x'.repeat(1_000_000)}"}`,
];

test('the streamer delivers the exact text of contexts that ClickHouse’s JSON type cannot hold (invariant 7)', async () => {
  await using outbox = await Outbox.create();
  const streamer = outbox.stream();
  await streamer.attached();
  for (const [i, context] of ODD_CONTEXTS.entries()) {
    await outbox.postgres.query('INSERT INTO outbox.event (event_type, event_context) VALUES ($1, $2)', [
      String(i),
      context,
    ]);
  }
  await outbox.untilDelivered(ODD_CONTEXTS.length);
  expect(await streamer.stop()).toBe(0);
  const rows = await outbox.select<{ text: string; json: string }>(
    'SELECT event_context_text AS text, toJSONString(event_context) AS json FROM events ORDER BY toUInt8(event_type)',
  );
  expect(rows.map(({ text }) => text)).toEqual(ODD_CONTEXTS);
  expect(rows.slice(0, 2).map(({ json }) => json)).toEqual(['{}', '{}']);
});

test('the streamer clamps dates beyond DateTime64 and logs that it did', async () => {
  await using outbox = await Outbox.create();
  const streamer = outbox.stream();
  await streamer.attached();
  const dates = [
    'infinity',
    '-infinity',
    '4713-01-01 BC',
    '294276-12-31',
    '1900-01-01 00:00:00+00',
    '2299-12-31 23:59:59.999999+00',
  ];
  for (const date of dates) {
    await outbox.postgres.query(
      "INSERT INTO outbox.event (event_type, event_date_time, event_context) VALUES ('d', $1, '{}')",
      [date],
    );
  }
  await outbox.untilDelivered(dates.length);
  await streamer.log(({ msg }) => msg.includes('clamped'));
  expect(await streamer.stop()).toBe(0);
  const rows = await outbox.select<{ date: string }>(
    'SELECT toString(event_date_time) AS date FROM events ORDER BY lsn, seq',
  );
  const [first, last] = ['1900-01-01 00:00:00.000000', '2299-12-31 23:59:59.999999'];
  expect(rows.map(({ date }) => date)).toEqual([last, first, first, last, first, last]);
});

test('the streamer delivers rows inserted straight into a partition, and rows with a column that the user added', async () => {
  await using outbox = await Outbox.create();
  const streamer = outbox.stream();
  await streamer.attached();
  await outbox.postgres.query(
    "INSERT INTO outbox.event_05 (event_type, event_context, bucket) VALUES ('partition', '{}', 5)",
  );
  await outbox.postgres.query('ALTER TABLE outbox.event ADD COLUMN tenant text');
  await outbox.postgres.query(
    "INSERT INTO outbox.event (event_type, event_context, tenant) VALUES ('column', '{}', 'mine')",
  );
  await outbox.untilDelivered(2);
  expect(await streamer.stop()).toBe(0);
  const rows = await outbox.select<{ type: string }>('SELECT event_type AS type FROM events ORDER BY lsn, seq');
  expect(rows.map(({ type }) => type)).toEqual(['partition', 'column']);
});

test('the streamer delivers, settles and acknowledges its buffer on SIGTERM; the next one continues there (invariant 2)', async () => {
  await using outbox = await Outbox.create();
  const streamer = outbox.stream({ OUTBOX_FLUSH_INTERVAL_MS: '60000' });
  await streamer.attached();
  const { delivered_lsn: before } = await outbox.ledger();
  await outbox.fill(1);
  const end = await outbox.walEnd();
  await outbox.fill(1000, 'test.next');
  // the flush interval holds the batch for a minute; the stop comes while the streamer reads, and it delivers what it has read
  await eventually('all is sent', async () => outbox.sent(end));
  expect(await streamer.stop()).toBe(0);
  const { pending_token: pending, delivered_lsn: delivered } = await outbox.ledger();
  expect(pending).toBeNull();
  const { rows, events } = await outbox.delivered();
  expect(rows).toBe(events);
  expect(rows > 0).toBe(delivered !== before);
  expect(await outbox.confirmed(end)).toBe(rows > 0);
  const successor = outbox.stream();
  await successor.attached();
  await outbox.untilDelivered(1001);
  expect(await successor.stop()).toBe(0);
  expect(await outbox.delivered()).toEqual({ rows: 1001, events: 1001 });
});

test('the streamer exits at once on a second SIGTERM', async () => {
  await using outbox = await Outbox.create();
  const streamer = outbox.stream();
  await streamer.attached();
  // this lock freezes the ledger row, so the stop has to wait for it
  const client = await outbox.postgres.connect();
  await client.query('BEGIN; SELECT FROM outbox.stream FOR UPDATE');
  await outbox.fill(1);
  streamer.signal('SIGTERM');
  await streamer.log(({ msg }) => msg.startsWith('stopping'));
  streamer.signal('SIGTERM');
  expect(await streamer.exited()).toBe(1);
  await client.query('ROLLBACK');
  client.release();
});

test('the streamer acknowledges WAL of other tables while the outbox is idle (invariant 2)', async () => {
  // the shared server also writes the WAL of other tests
  await using postgres = await startPostgres();
  await using outbox = await Outbox.create({ postgresUrl: postgres.url });
  const streamer = outbox.stream();
  await streamer.attached();
  await outbox.postgres.query('CREATE TABLE busy (n int)');
  await eventually('the slot is held', async () => outbox.applied('0/1'));
  const before = await outbox.ledger();
  await outbox.postgres.query('INSERT INTO busy SELECT 1');
  const soon = await outbox.walEnd();
  await eventually('the streamer follows', async () => outbox.applied(soon));
  // the streamer does not write the ledger for so little: the WAL of that write would wake it again
  expect(await outbox.ledger()).toEqual(before);
  await outbox.postgres.query('INSERT INTO busy SELECT generate_series(1, 100000)');
  const { rows } = await outbox.postgres.query('SELECT pg_current_wal_lsn() - 2097152 AS lsn');
  await eventually('the slot follows', async () => outbox.confirmed(rows[0].lsn));
});

test('with OUTBOX_CLICKHOUSE_COMPRESSION an insert is sent compressed, and counts once when it is repeated', async () => {
  await using outbox = await Outbox.create();
  await outbox.addView();
  await using gateway = await Gateway.to(outbox.clickhouseUrl);
  gateway.losing = 2;
  const streamer = outbox.stream({ CLICKHOUSE_URL: gateway.url, OUTBOX_CLICKHOUSE_COMPRESSION: 'zstd' });
  await outbox.fill(20_000);
  await outbox.untilDelivered(20_000);
  expect(await outbox.delivered()).toEqual({ rows: 20_000, events: 20_000 });
  expect(await outbox.viewed()).toBe(20_000);
  expect(await streamer.stop()).toBe(0);
  expect(gateway.inserts.length).toBeGreaterThan(2);
  expect(new Set(gateway.inserts.map((headers) => headers['content-encoding']))).toEqual(new Set(['zstd']));
});
