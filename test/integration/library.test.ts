import { type } from 'arktype';
import { drizzle } from 'drizzle-orm/node-postgres';
import { Client, Pool } from 'pg';
import * as v from 'valibot';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import * as z from 'zod';
import {
  createOutbox,
  defineEvent,
  emitEvent,
  emitEvents,
  type EventContext,
  type Transaction,
} from '../../src/app/index.ts';
import { createRecorder, emittedEvents, type Queryable, untilDelivered } from '../../src/app/testing.ts';
import { walEnd } from '../../src/app/testing/delivered.ts';
import { formatLsn } from '../../src/lsn.ts';
import { Outbox } from '../support/outbox.ts';

const CANARY = 'canary-03fd';

const placed = defineEvent('order.placed', {
  schema: z.object({ orderId: z.string(), placedAt: z.date(), currency: z.string().default('EUR') }),
});
const placed2 = defineEvent('order.placed', {
  schema: v.object({ orderId: v.string(), buyer: v.object({ email: v.string() }) }),
  version: 2,
});
const paid = defineEvent('order.paid', { schema: type({ orderId: 'string', 'note?': 'string' }), version: 3 });

let servers: Outbox;
let pool: Pool;

beforeAll(async () => {
  servers = await Outbox.create();
  await servers.stream().attached();
  pool = new Pool({ connectionString: servers.databaseUrl, max: 4 });
});

afterEach(async () => {
  await pool.query('TRUNCATE outbox.event');
});

afterAll(async () => {
  await pool.end();
  await servers[Symbol.asyncDispose]();
});

async function inTransaction<T>(work: (client: Client) => Promise<T>, end = 'COMMIT'): Promise<T> {
  const client = await pool.connect();
  try {
    await client.query('BEGIN');
    return await work(client);
  } finally {
    await client.query(end);
    client.release();
  }
}

test('typed events arrive validated, redacted, with defaults and versions, equal to those of the recorder', async () => {
  const outbox = createOutbox({
    environment: 'production',
    context: () => ({ actor: { id: 7, ip: CANARY }, requestId: 'r-1', note: 'of the outbox' }),
    events: [placed, placed2, paid],
    redact: ['actor.ip', 'buyer.email', 'note'],
  });
  const id = '0af76519-16cd-43dd-8448-eb211c80319c';
  const time = new Date('2026-01-02T03:04:05.678Z');
  const emit = async (tx: Transaction): Promise<void> => {
    await outbox.emitEvent(tx, placed({ orderId: 'o-1', placedAt: new Date(0) }, { id, time }));
    await outbox.emitEvents(tx, [
      placed2({ orderId: 'o-1', buyer: { email: CANARY } }, { id, time, environment: 'test' }),
      paid({ orderId: 'o-1', note: CANARY }, { id, time }),
    ]);
  };

  const recorder = createRecorder();
  await recorder.transaction(emit);
  await inTransaction(async (client) => {
    await emit(client);
    expect(await emittedEvents(client)).toEqual(recorder.events);
  });
  await untilDelivered(pool);

  const rows = await servers.select<Record<string, unknown>>(
    'SELECT event_type, metadata_version, environment, event_context_text FROM events ORDER BY lsn, seq',
  );
  const added = { actor: { id: 7, ip: '[redacted]' }, requestId: 'r-1' };
  const placedAt = '1970-01-01T00:00:00.000Z';
  const expected = [
    {
      event_type: 'order.placed',
      metadata_version: 1,
      environment: 'production',
      context: { ...added, note: '[redacted]', orderId: 'o-1', placedAt, currency: 'EUR' },
    },
    {
      event_type: 'order.placed',
      metadata_version: 2,
      environment: 'test',
      context: { ...added, note: '[redacted]', orderId: 'o-1', buyer: { email: '[redacted]' } },
    },
    {
      event_type: 'order.paid',
      metadata_version: 3,
      environment: 'production',
      context: { ...added, note: '[redacted]', orderId: 'o-1' },
    },
  ];
  expect(
    rows.map(({ event_context_text: text, ...row }) => ({ ...row, context: JSON.parse(String(text)) as unknown })),
  ).toEqual(expected);
  expect(JSON.stringify(await pool.query('SELECT * FROM outbox.event'))).not.toContain(CANARY);
});

test('emitEvent rejects an event that its schema refuses before any SQL, and the transaction goes on', async () => {
  await inTransaction(async (client) => {
    await expect(emitEvent(client, placed({ orderId: CANARY } as never))).rejects.toMatchObject({
      code: 'OUTBOX_EVENT_INVALID',
      problems: ['event.context.placedAt: is missing, or refused by the schema (zod: invalid_type)'],
    });
    await emitEvent(client, paid({ orderId: 'o-2' }));
    expect((await emittedEvents(client)).map((event) => event.type)).toEqual(['order.paid']);
  });
});

/** docs/library.md lists how each kind of value is stored: here it goes through Postgres. */
test.for<[string, EventContext, unknown]>([
  ['lone surrogates', { a: '\ud800', '\udfff': 1 }, '{"a":"\ufffd","\ufffd":1}'],
  ['NUL', { a: 'x\u0000y', '\0': 1 }, '{"a":"x\\u0000y","\\u0000":1}'],
  ['Date', { a: new Date(0) }, '{"a":"1970-01-01T00:00:00.000Z"}'],
  ['undefined', { a: undefined, b: [undefined] }, '{"b":[null]}'],
  ['-0', { a: -0 }, '{"a":0}'],
  ['a number beyond 2^53', { a: 2 ** 60 }, '{"a":1152921504606847000}'],
  [
    'toJSON',
    { a: new URL('https://example.com/'), b: Buffer.from('a') },
    '{"a":"https://example.com/","b":{"type":"Buffer","data":[97]}}',
  ],
])('Postgres stores %s as docs/library.md says', async ([, context, text]) => {
  await inTransaction(async (client) => emitEvent(client, { type: 'value', context }));
  const { rows } = await pool.query<{ text: string }>('SELECT event_context::text AS text FROM outbox.event');
  expect(rows).toEqual([{ text }]);
});

const WAYS: [
  string,
  (client: Client) => (Transaction & Queryable) | ((sql: string, params: unknown[]) => Promise<object[]>),
][] = [
  ['pg', (client) => client],
  ['a function', (client) => async (sql, params) => (await client.query<object>(sql, params)).rows],
];

describe.for(WAYS)('emittedEvents, asked through %s', ([, way]) => {
  test('it gives only the events of this transaction, savepoints included, in their order', async () => {
    await inTransaction(async (other) => {
      await emitEvent(other, { type: 'of another one', context: {} });
      await inTransaction(async (client) => emitEvent(client, { type: 'committed', context: {} }));
      await inTransaction(async (client) => {
        expect(await emittedEvents(way(client))).toEqual([]);
        // an event of a transaction that began in the same microsecond
        const { rows } = await client.query<{ now: string }>('SELECT now()::text AS now');
        const twin = "INSERT INTO outbox.event (event_type, event_context, recorded_at) VALUES ('twin', '{}', $1)";
        await pool.query(twin, [rows[0]!.now]);
        await emitEvent(client, { type: 'a', context: { text: '\0"\n' } });
        await client.query('SAVEPOINT one');
        await emitEvents(client, [
          { type: 'b', context: {} },
          { type: 'c', context: {} },
        ]);
        await client.query('RELEASE one; SAVEPOINT two');
        await emitEvent(client, { type: 'undone', context: {} });
        await client.query('ROLLBACK TO two');
        await emitEvent(client, { type: 'd', context: {} });
        const events = await emittedEvents(way(client));
        expect(events.map((event) => event.type)).toEqual(['a', 'b', 'c', 'd']);
        expect(events[0]?.context).toEqual({ text: '\0"\n' });
        expect(events[0]?.time).toBeInstanceOf(Date);
      }, 'ROLLBACK');
    });
  });
});

test('emittedEvents, asked through drizzle, gives the events of the outer and the nested transaction', async () => {
  const db = drizzle(pool);
  await db.transaction(async (tx) => {
    await emitEvent(tx, { type: 'a', context: {} });
    await tx.transaction(async (nested) => {
      await emitEvent(nested, { type: 'b', context: {} });
      expect((await emittedEvents(nested)).map((event) => event.type)).toEqual(['a', 'b']);
    });
  });
});

test('emittedEvents rejects a client without an open transaction', async () => {
  const client = await pool.connect();
  try {
    await expect(emittedEvents(client)).rejects.toMatchObject({ code: 'OUTBOX_NO_TRANSACTION' });
  } finally {
    client.release();
  }
});

/** Never called: tsc checks it. */
const refused = async (client: Client): Promise<void> => {
  // @ts-expect-error -- a pool has no transaction
  await emittedEvents(pool);
  // @ts-expect-error -- nor has a database
  await emittedEvents(drizzle(pool));
  // @ts-expect-error -- an answer without rows
  await emittedEvents(async () => 5);
  // @ts-expect-error -- nothing to ask through
  await untilDelivered({});
  // @ts-expect-error -- a typo
  await untilDelivered(client, { timeout: 5 });
};

test('the types of the helpers reject values through which they cannot query', () => {
  expect(refused).toBeTypeOf('function');
});

describe('untilDelivered', () => {
  test('it waits for delivery through a role that may read only the ledger, and through drizzle', async () => {
    const role = `reader_of_${servers.slot}`;
    await pool.query(
      `CREATE ROLE ${role} LOGIN PASSWORD 'x'; GRANT USAGE ON SCHEMA outbox TO ${role}; GRANT SELECT ON outbox.stream TO ${role}`,
    );
    const url = new URL(servers.databaseUrl);
    [url.username, url.password] = [role, 'x'];
    const reader = new Client(url.href);
    await reader.connect();
    try {
      await inTransaction(async (client) =>
        emitEvents(
          client,
          Array.from({ length: 3 }, () => ({ type: 'awaited', context: {} })),
        ),
      );
      // WAL of others, which nothing but the published position passes while the stream is idle
      await pool.query("SELECT pg_logical_emit_message(true, 'library.test', 'x')");
      await untilDelivered(reader, { slot: servers.slot });
      const [arrived] = await servers.select<{ n: number }>(
        "SELECT count() AS n FROM events WHERE event_type = 'awaited'",
      );
      expect(arrived).toEqual({ n: 3 });
      const hidden = await reader.query('SELECT replay_lsn FROM pg_stat_replication WHERE replay_lsn IS NOT NULL');
      expect(hidden.rows).toEqual([]);
      await untilDelivered(drizzle(pool), { timeoutMs: 60_000 });
    } finally {
      await reader.end();
      await pool.query(`DROP OWNED BY ${role}; DROP ROLE ${role}`);
    }
  });

  const [page, segment] = [8192, 16 * 2 ** 20];
  test.for([
    [5 * page + 24, 5 * page],
    [3 * segment + 40, 3 * segment],
    [3 * segment + page + 24, 3 * segment + page],
    [5 * page + 32, 5 * page + 32],
    [5 * page + 40, 5 * page + 40],
    [5 * page, 5 * page],
  ])('it computes the end of the last record from the insert position: %i, %i', async ([insert, end]) => {
    const sql = walEnd(`SELECT '${formatLsn(insert!)}'::pg_lsn AS lsn`);
    expect((await pool.query<{ lsn: string }>(sql)).rows).toEqual([{ lsn: formatLsn(end!) }]);
  });

  test('it rejects with the position reached when its time is up', async () => {
    await pool.query(`INSERT INTO outbox.stream (slot_name, system_id, source) VALUES ('nobody', '1', '1/nobody')`);
    try {
      await expect(untilDelivered(pool, { slot: 'nobody', timeoutMs: 0 })).rejects.toMatchObject({
        code: 'OUTBOX_TEST_NOT_DELIVERED',
        problems: ['slot nobody: delivered up to 0/0; no streamer holds it'],
      });
      await expect(untilDelivered(pool, { timeoutMs: 0 })).rejects.toMatchObject({ code: 'OUTBOX_TEST_NOT_DELIVERED' });
    } finally {
      await pool.query(`DELETE FROM outbox.stream WHERE slot_name = 'nobody'`);
    }
  });

  test.for<[string, string]>([
    ['unknown', 'OUTBOX_PG_NOT_MIGRATED'],
    ["'; DROP TABLE x", 'OUTBOX_PG_NOT_MIGRATED'],
  ])('it rejects a slot that the ledger does not have: %s', async ([slot, code]) => {
    await expect(untilDelivered(pool, { slot })).rejects.toMatchObject({ code });
  });

  test.for<[string, unknown]>([
    ['nothing', undefined],
    ['an object', {}],
    ['a function without rows', async () => 5],
  ])('it rejects %s, through which it cannot query', async ([, query]) => {
    await expect(untilDelivered(query as Queryable)).rejects.toMatchObject({ code: 'OUTBOX_TEST_UNSUPPORTED' });
  });
});
