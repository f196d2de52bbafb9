import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createClient } from '@clickhouse/client';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { emitEvents, type AnyEvent } from '../../src/app/index.ts';
import { startClickHouse, type EmbeddedClickHouse } from '../../src/embedded/clickhouse.ts';
import { command } from '../support/command.ts';
import { Outbox } from '../support/outbox.ts';
import stockCounted, { invoicePaid, orders, signedUp } from './catalog.fixture.ts';

const NOWHERE = { CLICKHOUSE_URL: '', DATABASE_URL: '' };
const FIXTURE = new URL('catalog.fixture.ts', import.meta.url).pathname;
const LIBRARY = new URL('../../src/app/index.ts', import.meta.url).href;
/** An array in eleven others. */
const DEEP: unknown = JSON.parse(`${'['.repeat(12)}1${']'.repeat(12)}`);
const [placed1, placed2] = orders.orderPlaced;
const TIME = new Date('2026-01-02T03:04:05.678Z');
const ORDER = {
  orderId: 'o-1',
  address: { city: 'Bern', zip: null },
  tags: ['a', 'b'],
  placedAt: TIME,
  status: 'paid' as const,
};

/** What docs/catalog.md asks for. */
const MAKER = [
  'GRANT SELECT ON cataloged.events',
  ...['event_catalog', 'shared_catalog'].map(
    (name) => `GRANT SELECT, INSERT, CREATE TABLE, CREATE VIEW, DROP TABLE, DROP VIEW ON ${name}.*`,
  ),
  'GRANT SELECT ON system.tables',
  'GRANT SELECT ON system.columns',
  'GRANT SELECT ON system.merge_tree_settings',
];

let clickhouse: EmbeddedClickHouse;
let outbox: Outbox;
let directory: string;

beforeAll(async () => {
  clickhouse = await startClickHouse({
    users: [
      { user: 'analyst', password: 'reads', grants: ['GRANT SELECT ON event_catalog.*'] },
      { user: 'maker', password: 'makes', grants: MAKER },
    ],
  });
  outbox = await Outbox.create({ clickhouseUrl: clickhouse.url, database: 'cataloged' });
  directory = await mkdtemp(join(tmpdir(), 'catalog-'));
  await sql('CREATE DATABASE event_catalog');
  const byHand = (context: object): AnyEvent => ({ type: 'order.placed', context, metadataVersion: 3 });
  const events: AnyEvent[] = [
    placed1({ ...ORDER, amount: 12, customer: 7 }),
    placed2({
      ...ORDER,
      amount: 12.5,
      weight: 3,
      customer: 'seven',
      items: [{ sku: 'x', price: 2 }, { sku: 'y' }],
      raw: [1, 'a', null],
    }),
    placed2({ ...ORDER, amount: 0.1, weight: 2.5, customer: 'seven', items: [], raw: { b: 1, a: {} } }),
    // what no schema has seen
    byHand({ amount: [1, 2], weight: 'heavy', tags: 'a', placedAt: 'soon', status: 7, items: 'none' }),
    byHand({ amount: true, weight: { kg: 1 }, address: [] }),
    // the table does not type arrays as deep as this
    { type: 'order.placed', context: { amount: 3, raw: DEEP }, metadataVersion: 4 },
    invoicePaid(
      {
        subject: 'inner',
        event_type: 1,
        event_context: 'c',
        event_context_text: { n: 2 },
        paid: true,
        dueOn: '2026-02-01',
        'odd `key`': 3,
        a: { b: 'deep' },
        a_b: 'flat',
      },
      { subject: 'order/7' },
    ),
    stockCounted({ count: 3, countedAt: TIME, by: 4 }),
    signedUp({ userId: 'u' }),
  ];
  const client = await outbox.postgres.connect();
  await client.query('BEGIN');
  await emitEvents(client, events);
  await client.query('COMMIT');
  client.release();
  const streamer = outbox.stream();
  await outbox.untilDelivered(events.length);
  await streamer.stop();
});

afterAll(async () => {
  await outbox?.[Symbol.asyncDispose]();
  await clickhouse?.dispose();
  await rm(directory, { recursive: true, force: true });
});

async function sql(query: string): Promise<void> {
  await outbox.clickhouse.command({ query });
}

/** The least privileged account. */
function asMaker(): Record<string, string> {
  const url = Object.assign(new URL(outbox.clickhouseUrl), { username: 'maker', password: 'makes' });
  return { CLICKHOUSE_URL: url.href };
}

async function catalog(args: string[], environment: Record<string, string> = {}) {
  return command(outbox, ['catalog', ...args], environment).done;
}

/** A module with definitions, beside the library. */
async function module(name: string, text: string): Promise<string> {
  const path = join(directory, name);
  await writeFile(path, `import { defineEvent } from '${LIBRARY}';\n${text}`);
  return path;
}

/** By what definitions in zod are as short as they can be. */
async function fields(name: string, type: string, object: string): Promise<string> {
  const zod = import.meta.resolve('zod');
  return module(
    name,
    `import { z } from '${zod}';\nexport const one = defineEvent('${type}', { schema: z.object(${object}) });`,
  );
}

test('`catalog` makes a view for each type, with typed and commented columns; a second run changes nothing', async () => {
  const nowhere = await catalog([FIXTURE, '--database', 'nowhere'], asMaker());
  expect(nowhere).toMatchObject({ code: 1, stdout: '', stderr: expect.stringContaining('CREATE DATABASE `nowhere`') });
  const first = await catalog([FIXTURE, '--database', 'event_catalog'], asMaker());
  expect(first).toMatchObject({ code: 0, stderr: '' });
  expect(first.stdout).toContain('ClickHouse: made the view "order_placed" of "order.placed", versions 1, 2');
  expect(first.stdout).toContain('  a.b is the column context_a_b, because a_b is taken');
  const columns = await outbox.select<{ name: string; type: string; comment: string }>(
    "SELECT name, type, comment FROM system.columns WHERE database = 'event_catalog' AND table = 'order_placed'",
  );
  expect(columns.slice(0, 3).map(({ name }) => name)).toEqual(['event_id', 'event_date_time', 'environment']);
  expect(columns).toContainEqual({
    name: 'order_id',
    type: 'Nullable(String)',
    comment: 'The number on the invoice. event_context.orderId, required',
  });
  const second = await catalog([FIXTURE, '--database', 'event_catalog'], asMaker());
  expect(second.stdout.match(/the view "\w+" .* is unchanged/g)).toHaveLength(4);
  // as after a restart of the server
  const [odd] = await outbox.select<{ name: string }>("SELECT name FROM system.tables WHERE name LIKE 'invoice_paid%'");
  await sql(`DETACH TABLE event_catalog.${odd!.name}`);
  await sql(`ATTACH TABLE event_catalog.${odd!.name}`);
});

const ORDERS = `SELECT metadata_version AS v, order_id, amount, weight, address_city AS city, address_zip AS zip, tags, placed_at AS at, status,
  customer, items, raw FROM order_placed ORDER BY v, amount`;
const KNOWN = {
  order_id: 'o-1',
  city: 'Bern',
  zip: null,
  tags: ['a', 'b'],
  at: '2026-01-02 03:04:05.678000',
  status: 'paid',
};
const UNKNOWN = {
  order_id: null,
  amount: null,
  weight: null,
  city: null,
  zip: null,
  tags: [],
  at: null,
  customer: null,
  items: [],
  raw: null,
};

test('a view gives the values of all versions, and NULL for what is of another type', async () => {
  const rows = await outbox.select<object>(ORDERS.replace('order_placed ', 'event_catalog.order_placed '));
  expect(rows).toEqual([
    { v: 1, ...KNOWN, amount: 12, weight: null, customer: '7', items: [], raw: null },
    { v: 2, ...KNOWN, amount: 0.1, weight: 2.5, customer: 'seven', items: [], raw: '{"b":1,"a":{}}' },
    {
      v: 2,
      ...KNOWN,
      amount: 12.5,
      weight: 3,
      customer: 'seven',
      items: [
        { sku: 'x', price: 2 },
        { sku: 'y', price: null },
      ],
      raw: '[1,"a",null]',
    },
    { v: 3, ...UNKNOWN, status: '7' },
    { v: 3, ...UNKNOWN, status: null },
    { v: 4, ...UNKNOWN, raw: JSON.stringify(DEEP), status: null },
  ]);
  // while a plain cast of the path fails
  await expect(outbox.select('SELECT sum(event_context.amount::Nullable(Float64)) FROM events')).rejects.toThrow(
    'Array',
  );
  expect(
    await outbox.select(
      `SELECT * EXCEPT (event_id, event_date_time, committed_at, recorded_at, recorded_by, trace_id) FROM event_catalog.invoice_paid_it_s_done`,
    ),
  ).toEqual([
    {
      environment: '',
      subject: 'order/7',
      metadata_version: 1,
      context_subject: 'inner',
      context_event_type: 1,
      context_event_context: 'c',
      context_event_context_text: '{"n":2}',
      paid: true,
      due_on: '2026-02-01',
      odd_key: 3,
      context_a_b: 'deep',
      a_b: 'flat',
    },
  ]);
  expect(await outbox.select('SELECT count, counted_at, by FROM event_catalog.stock_counted')).toEqual([
    { count: 3, counted_at: '2026-01-02 03:04:05.678000', by: '4' },
  ]);
  expect(await outbox.select('SELECT subject, metadata_version FROM event_catalog.user_signed_up')).toEqual([
    { subject: '', metadata_version: 1 },
  ]);
});

test('a query of a view reads what the same query of the paths reads', async () => {
  const read = async (query: string): Promise<unknown> => {
    const answer = await outbox.clickhouse.query({ query, clickhouse_settings: { wait_end_of_query: 1 } });
    await answer.text();
    const { read_rows: rows, read_bytes: bytes } = JSON.parse(
      String(answer.response_headers['x-clickhouse-summary']),
    ) as Record<string, string>;
    return { rows, bytes };
  };
  const where = "event_type = 'order.placed' AND event_date_time > now() - INTERVAL 1 DAY";
  const amount = 'toDecimal64OrNull(event_context.amount::Nullable(String), 2)';
  expect(
    await read('SELECT sum(amount) FROM event_catalog.order_placed WHERE event_date_time > now() - INTERVAL 1 DAY'),
  ).toEqual(await read(`SELECT sum(${amount}) FROM events WHERE ${where}`));
  expect(await read('SELECT count() FROM event_catalog.order_placed')).not.toEqual(
    await read('SELECT sum(amount) FROM event_catalog.order_placed'),
  );
});

test('a reader of the views sees nothing else', async () => {
  const { origin } = new URL(clickhouse.url);
  const analyst = createClient({ url: origin, username: 'analyst', password: 'reads' });
  const ask = async (query: string): Promise<unknown> => (await analyst.query({ query, format: 'JSONEachRow' })).json();
  expect(await ask('SELECT sum(amount) AS sum FROM event_catalog.order_placed')).toEqual([{ sum: 24.6 }]);
  await expect(ask('SELECT count() FROM cataloged.events')).rejects.toThrow('Not enough privileges');
  await analyst.close();
});

test('contexts that are kept as text give the same values', async () => {
  await sql('CREATE DATABASE text_catalog');
  await sql('CREATE TABLE texts AS events');
  await sql('ALTER TABLE texts MODIFY COLUMN event_context String DEFAULT event_context_text');
  await sql('INSERT INTO texts (* EXCEPT event_context) SELECT * EXCEPT event_context FROM events');
  const { code } = await catalog([FIXTURE, '--database', 'text_catalog'], { OUTBOX_CLICKHOUSE_TABLE: 'texts' });
  expect(code).toBe(0);
  const [texts, typed] = await Promise.all(
    ['text_catalog', 'event_catalog'].map(async (database) =>
      outbox.select(ORDERS.replace('order_placed ', `${database}.order_placed WHERE v < 4 `)),
    ),
  );
  expect(texts).toEqual(typed);
});

test('a name of somebody else is refused, and nothing is changed; a view of a type that vanished is told, and stays', async () => {
  await sql('CREATE DATABASE shared_catalog');
  const into = ['--database', 'shared_catalog'];
  const sent = await fields('sent.ts', 'order.sent', '{ a: z.string() }');
  const lost = await fields('lost.ts', 'order.lost', '{ a: z.string() }');
  expect((await catalog([sent, lost, ...into], asMaker())).stdout).toContain('made the view "order_sent"');
  await sql('CREATE TABLE shared_catalog.stock_counted (mine UInt8) ENGINE = Memory');
  await sql('CREATE VIEW shared_catalog.user_signed_up AS SELECT 1');
  const refused = await catalog([FIXTURE, ...into], asMaker());
  expect(refused.code).toBe(1);
  expect(refused.stderr).toContain('OUTBOX_CATALOG_NAME_TAKEN');
  expect(refused.stderr).toContain(
    '"stock_counted", for events of the type "stockCounted", is a Memory of somebody else',
  );
  expect(refused.stderr).toContain(
    '"user_signed_up", for events of the type "user.signed_up", is a View of somebody else',
  );
  const names = async () =>
    (await outbox.select<{ name: string }>('SHOW TABLES FROM shared_catalog')).map(({ name }) => name);
  expect(await names()).toEqual(['order_lost', 'order_sent', 'stock_counted', 'user_signed_up']);
  const changed = await fields('changed.ts', 'order.sent', '{ a: z.string(), b: z.number() }');
  const { code, stdout, stderr } = await catalog([changed, ...into], asMaker());
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  expect(stdout).toContain('updated the view "order_sent"');
  expect(stdout).toContain('If no other application defines it: DROP VIEW `shared_catalog`.`order_lost`');
  expect(await names()).toContain('order_lost');
});

test('without a server, `catalog --check` exits with 1 when a change breaks readers, and names it', async () => {
  const before = await fields('before.ts', 'order.placed', '{ id: z.string(), n: z.number() }');
  const after = await fields('after.ts', 'order.placed', '{ id: z.number(), n: z.number(), more: z.string() }');
  const { stdout } = await catalog([before, '--json-schema'], NOWHERE);
  const schema = join(directory, 'events.schema.json');
  await writeFile(schema, stdout);
  const [same, broken, unreadable] = await Promise.all([
    catalog([before, '--check', schema], NOWHERE),
    catalog([after, '--check', schema], NOWHERE),
    catalog([await module('enum.ts', 'export enum Kind { A }'), '--check', schema], NOWHERE),
  ]);
  expect(same).toEqual({ code: 0, stdout: 'Nothing has changed.\n', stderr: '' });
  expect(broken).toMatchObject({
    code: 1,
    stdout:
      'breaks readers: order_placed.id is Nullable(Float64), which was Nullable(String)\norder_placed.more is new: Nullable(String)\n',
  });
  expect(unreadable).toMatchObject({ code: 1, stdout: '', stderr: expect.stringContaining('it knows no enums') });
});
