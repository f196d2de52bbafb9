import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ROOT } from '../package/packages.ts';
import { Outbox } from '../support/outbox.ts';

/** SQL for rows of outbox.event: id, type, time, subject, version, context. */
const EVENTS = `
  (1, 'user.signed_in', '2026-03-01 08:00:00', 'user/7', 1, '{"actor": "user/7"}'),
  (2, 'user.signed_in', '2026-03-02 08:00:00', 'user/8', 1, '{"actor": "user/8"}'),
  (3, 'order.placed', '2026-03-01 09:10:00', 'order/3', 1, '{"actor": "user/7", "amount": 12.5, "currency": "EUR", "items": [{"sku": "cup", "quantity": 2}, {"sku": "tea", "quantity": 1}]}'),
  (4, 'order.placed', '2026-03-01 11:20:00', 'order/4', 1, '{"actor": "user/8", "amount": 30, "currency": "EUR", "items": [{"sku": "cup", "quantity": 5}]}'),
  (5, 'order.placed', '2026-03-09 09:00:00', 'order/5', 1, '{"amount": 7, "currency": "USD"}'),
  (6, 'order.paid', '2026-03-01 09:15:00', 'order/3', 1, '{"actor": "user/7"}'),
  (7, 'order.paid', '2026-03-01 12:20:00', 'order/4', 1, '{"actor": "billing"}'),
  (8, 'order.shipped', '2026-03-03 10:00:00', 'order/3', 1, '{"actor": "warehouse"}'),
  (9, 'invoice.sent', '2026-03-04 10:00:00', 'order/3', 1, '{"total": 12.5}'),
  (10, 'invoice.sent', '2026-03-05 10:00:00', 'order/4', 2, '{"amount": 30}'),
  (11, 'import.ran', '2026-03-06 10:00:00', '', 1, '{"note": "deep", "rows": [[[[[[[[[[[[1]]]]]]]]]]]]}')`;
const INSERT = `INSERT INTO outbox.event (event_id, event_type, event_date_time, subject, metadata_version, event_context, traceparent)
  SELECT ('00000000-0000-4000-8000-' || lpad(id::text, 12, '0'))::uuid, type, time::timestamp AT TIME ZONE 'UTC', subject, version, context::json,
         CASE WHEN id IN (3, 6) THEN '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' END
    FROM (VALUES ${EVENTS}) AS v (id, type, time, subject, version, context) ORDER BY id`;
const FAILURES = `INSERT INTO outbox.event (event_type, event_date_time, subject, event_context)
  SELECT 'user.sign_in_failed', '2026-03-07 03:00:00Z'::timestamptz + make_interval(mins => n), 'user/9', '{"address": "203.0.113.9"}' FROM generate_series(1, 6) n`;
const NOW = `INSERT INTO outbox.event (event_type, event_context) VALUES ('job.ran', '{}')`;
const COUNT = 18;

let outbox: Outbox;
/** The statements of the page, by the heading that they stand under. */
let page: Map<string, string[]>;

beforeAll(async () => {
  const text = await readFile(join(ROOT, 'docs/events.md'), 'utf8');
  page = new Map(
    text.split(/^#+ /m).map((section) => {
      const blocks = [...section.matchAll(/```sql\n([\s\S]*?)```/g)].map(([, sql = '']) => sql);
      const statements = blocks.flatMap((sql) => sql.split(/;\n/)).filter((statement) => statement.trim() !== '');
      return [section.slice(0, section.indexOf('\n')), statements] as const;
    }),
  );
  outbox = await Outbox.create();
  const streamer = outbox.stream();
  for (const statement of [INSERT, FAILURES, NOW]) await outbox.postgres.query(statement);
  await outbox.untilDelivered(COUNT);
  await streamer.stop();
});
afterAll(() => outbox[Symbol.asyncDispose]());

const ANSWERS: Readonly<Record<string, readonly object[]>> = {
  'How many events of each type came on a day?': [
    { event_type: 'order.paid', events: 2 },
    { event_type: 'order.placed', events: 2 },
    { event_type: 'user.signed_in', events: 1 },
  ],
  'How many came in each hour?': [
    { hour: '2026-03-01 09:00:00', events: 1 },
    { hour: '2026-03-01 10:00:00', events: 0 },
    { hour: '2026-03-01 11:00:00', events: 1 },
  ],
  'How much was sold on each day?': [
    { day: '2026-03-01', currency: 'EUR', amount: 42.5 },
    { day: '2026-03-09', currency: 'USD', amount: 7 },
  ],
  'How many orders went from placed to paid to shipped?': [
    { step: 1, orders: 1 },
    { step: 2, orders: 1 },
    { step: 3, orders: 1 },
  ],
  'How long does it take from placed to paid?': [{ seconds: [3600, 3600] }],
  'How many users were active on each day?': [
    { day: '2026-03-01', users: 1 },
    { day: '2026-03-02', users: 1 },
  ],
  'How many users came for the first time?': [
    { day: '2026-03-01', users: 1 },
    { day: '2026-03-02', users: 1 },
  ],
  'Which products sell best?': [
    { sku: 'cup', sold: 7 },
    { sku: 'tea', sold: 1 },
  ],
  'What is the last known state of each order?': [
    { subject: 'order/3', state: 'invoice.sent', since: '2026-03-04 10:00:00.000000' },
    { subject: 'order/4', state: 'invoice.sent', since: '2026-03-05 10:00:00.000000' },
    { subject: 'order/5', state: 'order.placed', since: '2026-03-09 09:00:00.000000' },
  ],
  'How do I read two versions of one type together?': [
    { metadata_version: 1, events: 1, amount: 12.5 },
    { metadata_version: 2, events: 1, amount: 30 },
  ],
  'What happened to one user or one order?': [
    { event_date_time: '2026-03-01 08:00:00.000000', event_type: 'user.signed_in', event_context: { actor: 'user/7' } },
  ],
  'What did one request do?': [
    {
      event_date_time: '2026-03-01 09:10:00.000000',
      event_type: 'order.placed',
      subject: 'order/3',
      span_id: 'b7ad6b7169203331',
    },
    {
      event_date_time: '2026-03-01 09:15:00.000000',
      event_type: 'order.paid',
      subject: 'order/3',
      span_id: 'b7ad6b7169203331',
    },
  ],
  'Who failed to sign in five times within ten minutes?': [
    { subject: 'user/9', since: '2026-03-07 03:00:00', failures: 6 },
  ],
  'Is any event there twice?': [],
  'Which paths does a type have, and of which types?': [
    { path: 'actor', types: ['String'] },
    { path: 'amount', types: ['Float64', 'Int64'] },
    { path: 'currency', types: ['String'] },
    { path: 'items', types: ['Array(JSON(max_dynamic_types=16, max_dynamic_paths=32))'] },
  ],
  'How do I read a context that was not typed?': [{ event_id: '00000000-0000-4000-8000-000000000011', note: 'deep' }],
  'What are the limits of the JSON column?': [{ event_type: 'import.ran', untyped: 1 }],
};

test('docs/events.md has twenty questions and more, and names every column of the table', async () => {
  expect([...page].filter(([, statements]) => statements.length > 0).length).toBeGreaterThanOrEqual(24);
  const text = await readFile(join(ROOT, 'docs/events.md'), 'utf8');
  const columns = await outbox.select<{ name: string }>(
    "SELECT name FROM system.columns WHERE database = currentDatabase() AND table = 'events'",
  );
  expect(columns.filter(({ name }) => !text.includes(`\`${name}\``))).toEqual([]);
});

test('every question of docs/events.md has its answer', async () => {
  const answers: Record<string, unknown> = {};
  for (const [heading, statements] of page)
    for (const statement of statements) {
      if (statement.startsWith('SELECT')) answers[heading] = await outbox.select(statement);
      else await outbox.clickhouse.command({ query: statement });
    }
  expect(answers).toMatchObject(ANSWERS);
  const empty = Object.entries(answers).filter(([, rows]) => JSON.stringify(rows) === '[]');
  expect(empty.map(([heading]) => heading)).toEqual(['Is any event there twice?']);
});

test('a question by subject, id or trace reads a few blocks of a large table, and one by date its range', async () => {
  await outbox.clickhouse.command({
    query: `INSERT INTO events (event_type, event_date_time, subject, event_id, event_context_text, source, lsn, seq, committed_at, trace_id, origin)
      SELECT 'page.viewed', toDateTime64('2025-01-01', 6, 'UTC') + number, 'visit/' || number, generateUUIDv4(), '{}', 's', number, 1, now64(), hex(rand64()), 'stream'
        FROM numbers(300000)`,
  });
  const cheap = [
    'How many events of each type came on a day?',
    'What happened to one user or one order?',
    'Who touched an order?',
    'What did one request do?',
  ];
  const dear: string[] = [];
  for (const heading of cheap) {
    const result = await outbox.clickhouse.query({
      query: page.get(heading)![0]!,
      clickhouse_settings: { wait_end_of_query: 1 },
    });
    await result.text();
    const { read_rows: read } = JSON.parse(String(result.response_headers['x-clickhouse-summary'])) as {
      read_rows: string;
    };
    // a block has 8192 rows, and a bloom filter may be wrong about one of a hundred
    if (Number(read) >= 5 * 8192) dear.push(`${heading} ${read}`);
  }
  expect(dear).toEqual([]);
});
