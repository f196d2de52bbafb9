import {
  type Context,
  context as otelContext,
  ROOT_CONTEXT,
  trace as otelTrace,
  type ContextManager,
} from '@opentelemetry/api';
import { drizzle, type NodePgDatabase } from 'drizzle-orm/node-postgres';
import { AsyncLocalStorage } from 'node:async_hooks';
import { inspect } from 'node:util';
import { Client, Pool } from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import {
  type DrizzleTransaction,
  emitEvent,
  emitEvents,
  type OutboxEvent,
  type PgTransaction,
} from '../../src/app/index.ts';
import { Outbox } from '../support/outbox.ts';

const CANARY = 'canary-7c1e9a';

/** The two clients that can also run statements of these tests. test/clients has the others. */
type Transaction = DrizzleTransaction | PgTransaction;

let outbox: Outbox;
let pool: Pool;
let db: NodePgDatabase;
const queryLog: string[] = [];

beforeAll(async () => {
  outbox = await Outbox.create();
  pool = new Pool({ connectionString: outbox.databaseUrl, max: 4 });
  // Clients of the pool emit an error when the test of a lost connection ends them.
  pool.on('error', () => undefined);
  pool.on('connect', (client) => client.on('error', () => undefined));
  db = drizzle(pool, { logger: { logQuery: (text, params) => queryLog.push(`${text} ${params.map(String).join()}`) } });
});

afterEach(async () => {
  await pool.query('TRUNCATE outbox.event');
});

afterAll(async () => {
  await pool.end();
  await outbox[Symbol.asyncDispose]();
});

async function inPgTransaction<T>(work: (client: Client) => Promise<T>): Promise<T> {
  const client = await pool.connect();
  try {
    await client.query('BEGIN');
    const result = await work(client);
    await client.query('COMMIT');
    return result;
  } catch (error) {
    await client.query('ROLLBACK');
    throw error;
  } finally {
    client.release();
  }
}

/** The two kinds of transactions, each on a client of the pool. */
const KINDS: [string, <T>(work: (tx: Transaction) => Promise<T>) => Promise<T>][] = [
  ['pg', inPgTransaction],
  ['drizzle', async (work) => db.transaction(work)],
];

interface Stored {
  id: string;
  type: string;
  time: string;
  environment: string;
  context: string;
  version: string;
  subject: string;
  traceparent: string | null;
  tracestate: string | null;
}

/** The rows of the table in the order of insertion, as text where node-postgres would convert. The table has no key. */
async function stored(): Promise<Stored[]> {
  const { rows } = await pool.query<Stored>(`
    SELECT event_id AS id, event_type AS type, (event_date_time AT TIME ZONE 'UTC')::text AS time, environment,
      event_context::text AS context, metadata_version::text AS version, subject, traceparent, tracestate
    FROM outbox.event ORDER BY tableoid, ctid`);
  return rows;
}

async function rejection(promise: Promise<unknown>): Promise<Error> {
  const error: unknown = await promise.catch((thrown: unknown) => thrown);
  if (!(error instanceof Error)) throw new Error('nothing was thrown');
  return error;
}

/** Everything that a logger could print of an error. */
function printed(error: Error): string {
  const parts: string[] = [];
  for (let next: unknown = error; next instanceof Error; next = next.cause) {
    parts.push(next.message, next.stack ?? '', JSON.stringify(next), inspect(next, { depth: null, showHidden: true }));
  }
  return parts.join('\n');
}

describe.for(KINDS)('%s: an event is stored if and only if its transaction commits (invariant 1)', ([, within]) => {
  test('emitEvent stores one row with every value, after COMMIT', async () => {
    const event: OutboxEvent = {
      type: 'ördér.placed 🎉 "\\',
      context: {
        text: 'ü€😀 \u0000 \u2028 \\ " \n',
        at: new Date(Date.UTC(2026, 0, 2)),
        list: [1.5, null, true, { a: {} }],
        gone: undefined,
        '': 0,
      },
      id: '0AF76519-16CD-43DD-8448-EB211C80319C',
      time: new Date('2026-01-02T03:04:05.678Z'),
      environment: "prod 'ü'",
      metadataVersion: 2n ** 63n - 1n,
      subject: 'ordér/{7}',
    };
    const id = await within((tx) => emitEvent(tx, event));
    expect(id).toBe('0af76519-16cd-43dd-8448-eb211c80319c');
    expect(await stored()).toEqual([
      {
        id,
        type: event.type,
        time: '2026-01-02 03:04:05.678',
        environment: "prod 'ü'",
        context: JSON.stringify(event.context),
        version: '9223372036854775807',
        subject: 'ordér/{7}',
        traceparent: null,
        tracestate: null,
      },
    ]);
  });

  test('emitEvents stores its rows with every value, after COMMIT', async () => {
    const contexts = [{ a: '\u0000 \n \\n "' }, {}, { b: "'; {},\\ " }];
    const types = ['a"b\\c', 'NULL', '{x,\n}'];
    const events = contexts.map((context, index) => ({
      type: types[index] ?? '',
      context,
      environment: index === 0 ? '' : `"${index}\\`,
      time: new Date(index === 2 ? '2299-12-31T23:59:59.999Z' : '1900-01-01T00:00:00Z'),
      metadataVersion: index,
      subject: index === 0 ? '' : `"${index}\\,{}`,
    }));
    const ids = await within((tx) => emitEvents(tx, events));
    const rows = await stored();
    expect(rows.map((row) => row.id)).toEqual(ids);
    expect(rows.map((row) => row.type)).toEqual(types);
    expect(rows.map((row) => row.environment)).toEqual(['', '"1\\', '"2\\']);
    expect(rows.map((row) => row.context)).toEqual(contexts.map((context) => JSON.stringify(context)));
    expect(rows.map((row) => row.version)).toEqual(['0', '1', '2']);
    expect(rows.map((row) => row.subject)).toEqual(['', '"1\\,{}', '"2\\,{}']);
    expect(rows.map((row) => row.time)).toEqual([
      '1900-01-01 00:00:00',
      '1900-01-01 00:00:00',
      '2299-12-31 23:59:59.999',
    ]);
  });

  test('a context of 1 MB and one of the largest depth are stored', async () => {
    const large = { text: 'ü\\"😀'.repeat(100_000) };
    let deep: object = {};
    for (let level = 1; level < 100; level += 1) deep = { deep };
    await within(async (tx) => {
      await emitEvent(tx, { type: 'large', context: large });
      await emitEvents(tx, [
        { type: 'large', context: large },
        { type: 'deep', context: deep },
      ]);
    });
    const texts = (await stored()).map((row) => row.context);
    expect(texts.map((text) => text.length)).toEqual(
      [large, large, deep].map((context) => JSON.stringify(context).length),
    );
    expect(texts).toEqual([large, large, deep].map((context) => JSON.stringify(context)));
  });

  test('a rollback stores nothing', async () => {
    const failing = within(async (tx) => {
      await emitEvent(tx, { type: 'a', context: {} });
      await emitEvents(tx, [
        { type: 'a', context: {} },
        { type: 'b', context: {} },
      ]);
      throw new Error('on purpose');
    });
    await expect(failing).rejects.toThrow('on purpose');
    expect(await stored()).toEqual([]);
  });

  test('an invalid event leaves the transaction open', async () => {
    await within(async (tx) => {
      const bad: OutboxEvent = { type: 'a\0', context: { [CANARY]: Number.NaN } };
      await expect(emitEvents(tx, [bad, { type: 'a', context: {} }])).rejects.toMatchObject({
        code: 'OUTBOX_EVENT_INVALID',
        problems: [
          'events[0].type: holds a NUL, which Postgres cannot store',
          'events[0].context["canary-7c1e9a"]: is NaN',
        ],
      });
      await emitEvent(tx, { type: 'good', context: {} });
    });
    expect((await stored()).map((row) => row.type)).toEqual(['good']);
  });

  test('emitEvents stores nothing when there are no events', async () => {
    await within(async (tx) => expect(await emitEvents(tx, [])).toEqual([]));
    expect(await stored()).toEqual([]);
  });

  test('emitEvents stores 50,000 events in their order', async () => {
    const events = Array.from({ length: 50_000 }, (_, index) => ({ type: 'a', context: { index, text: 'x\\"' } }));
    const ids = await within((tx) => emitEvents(tx, events));
    const rows = await stored();
    expect(rows.map((row) => row.id)).toEqual(ids);
    expect(rows.map((row) => row.context)).toEqual(events.map((event) => JSON.stringify(event.context)));
    expect(ids.toSorted()).toEqual(ids);
  });

  test('every event keeps the trace context of the active span', async () => {
    const spanContext = { traceId: '0af7651916cd43dd8448eb211c80319c', spanId: 'b7ad6b7169203331', traceFlags: 1 };
    const span = otelTrace.setSpan(ROOT_CONTEXT, otelTrace.wrapSpanContext(spanContext));
    otelContext.setGlobalContextManager(contextManager());
    try {
      await otelContext.with(span, async () =>
        within(async (tx) => {
          await emitEvent(tx, { type: 'a', context: {} });
          await emitEvents(tx, [
            { type: 'b', context: {} },
            { type: 'c', context: {} },
          ]);
        }),
      );
    } finally {
      otelContext.disable();
    }
    const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
    expect((await stored()).map((row) => row.traceparent)).toEqual([traceparent, traceparent, traceparent]);
  });

  test('emitEvent rejects a failed transaction before any SQL', async () => {
    const failing = within(async (tx) => {
      // the client sends the second one only after it knows that the first one failed the transaction
      for (const statement of ['SELECT 1/0', 'SELECT 1']) {
        const query = 'execute' in tx ? tx.execute(statement) : tx.query(statement, []);
        await Promise.resolve(query).catch(() => undefined);
      }
      await emitEvent(tx, { type: 'a', context: {} });
    });
    await expect(failing).rejects.toMatchObject({
      code: 'OUTBOX_NO_TRANSACTION',
      message: expect.stringContaining('already failed'),
    });
  });

  test('emitEvent rejects a transaction that has ended', async () => {
    let kept: Transaction | undefined;
    await within(async (tx) => {
      kept = tx;
    });
    await expect(emitEvent(kept!, { type: 'a', context: {} })).rejects.toMatchObject({ code: 'OUTBOX_NO_TRANSACTION' });
    expect(await stored()).toEqual([]);
  });

  test('emitEvent and emitEvents reject with the SQLSTATE, and no value, when the table is missing', async () => {
    for (const emit of [
      async (tx: Transaction) => emitEvent(tx, { type: 'a', context: { secret: CANARY } }),
      async (tx: Transaction) =>
        emitEvents(
          tx,
          Array.from({ length: 2 }, () => ({ type: 'a', context: { secret: CANARY } })),
        ),
    ]) {
      const failing = within(async (tx) => {
        const rename = 'ALTER TABLE outbox.event RENAME TO gone';
        await ('execute' in tx ? tx.execute(rename) : tx.query(rename, []));
        await emit(tx);
      });
      const error = await rejection(failing);
      expect(error).toMatchObject({ code: 'OUTBOX_EMIT_FAILED', sqlState: '42P01', cause: { code: '42P01' } });
      expect(error.message).toContain('relation "outbox.event" does not exist');
      expect(printed(error)).not.toContain(CANARY);
    }
  });

  test('emitEvent rejects with the constraint, and no value, when a constraint fails', async () => {
    await pool.query(`ALTER TABLE outbox.event ADD CONSTRAINT no_a CHECK (event_type <> 'a')`);
    try {
      const error = await rejection(within((tx) => emitEvent(tx, { type: 'a', context: { secret: CANARY } })));
      expect(error).toMatchObject({ sqlState: '23514', cause: { code: '23514', constraint: 'no_a' } });
      expect(printed(error)).not.toContain(CANARY);
    } finally {
      await pool.query('ALTER TABLE outbox.event DROP CONSTRAINT no_a');
    }
  });

  test('emitEvent rejects with the message, and no value, when the connection is lost', async () => {
    let error: Error | undefined;
    const lost = within(async (tx) => {
      const lookUp = "SELECT set_config('application_name', 'doomed', false)";
      await ('execute' in tx ? tx.execute(lookUp) : tx.query(lookUp, []));
      const kill = `SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'doomed'`;
      await pool.query(kill);
      error = await rejection(emitEvent(tx, { type: 'a', context: { secret: CANARY } }));
    });
    // After the loss, every statement of the caller fails, such as ROLLBACK.
    await expect(lost).rejects.toThrow(/./);
    expect(error).toMatchObject({ code: 'OUTBOX_EMIT_FAILED', cause: { message: expect.stringMatching(/onnection/) } });
    expect(printed(error!)).not.toContain(CANARY);
    expect(await stored()).toEqual([]);
  });
});

describe('savepoints', () => {
  test('a rollback to a savepoint of pg loses only the events after it', async () => {
    await inPgTransaction(async (client) => {
      await emitEvent(client, { type: 'kept', context: {} });
      await client.query('SAVEPOINT one');
      await emitEvent(client, { type: 'undone', context: {} });
      await client.query('ROLLBACK TO one');
      await emitEvent(client, { type: 'kept too', context: {} });
    });
    expect((await stored()).map((row) => row.type)).toEqual(['kept', 'kept too']);
  });

  test('a nested transaction of drizzle keeps or loses its own events', async () => {
    await db.transaction(async (tx) => {
      await tx.transaction(async (nested) => emitEvent(nested, { type: 'kept', context: {} }));
      const failing = tx.transaction(async (nested) => {
        await emitEvent(nested, { type: 'undone', context: {} });
        throw new Error('on purpose');
      });
      await expect(failing).rejects.toThrow('on purpose');
      await emitEvent(tx, { type: 'kept too', context: {} });
    });
    expect((await stored()).map((row) => row.type)).toEqual(['kept', 'kept too']);
  });
});

test.for<[string, () => unknown]>([
  ['a pool', () => pool],
  ['a drizzle database', () => db],
  ['nothing', () => undefined],
])('emitEvent rejects %s before any SQL', async ([, given]) => {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- what the types forbid
  const tx = given() as Transaction;
  await expect(emitEvent(tx, { type: 'a', context: {} })).rejects.toMatchObject({ code: 'OUTBOX_NO_TRANSACTION' });
  expect(await stored()).toEqual([]);
});

test('emitEvent rejects a client outside a transaction', async () => {
  const client = await pool.connect();
  try {
    await expect(emitEvent(client, { type: 'a', context: {} })).rejects.toMatchObject({
      code: 'OUTBOX_NO_TRANSACTION',
    });
  } finally {
    client.release();
  }
});

test('emitEvent needs only INSERT on outbox.event and USAGE of its schema', async () => {
  const role = `producer_of_${outbox.slot}`;
  await pool.query(
    `CREATE ROLE ${role}; GRANT USAGE ON SCHEMA outbox TO ${role}; GRANT INSERT ON outbox.event TO ${role}`,
  );
  try {
    await inPgTransaction(async (client) => {
      await client.query(`SET LOCAL ROLE ${role}`);
      await emitEvent(client, { type: 'a', context: {} });
      await emitEvents(client, [
        { type: 'b', context: {} },
        { type: 'c', context: {} },
      ]);
    });
    expect((await stored()).map((row) => row.type)).toEqual(['a', 'b', 'c']);
    await pool.query(`REVOKE INSERT ON outbox.event FROM ${role}`);
    const refused = inPgTransaction(async (client) => {
      await client.query(`SET LOCAL ROLE ${role}`);
      await emitEvent(client, { type: 'a', context: {} });
    });
    await expect(refused).rejects.toMatchObject({ code: 'OUTBOX_EMIT_FAILED', sqlState: '42501' });
  } finally {
    await pool.query(`DROP OWNED BY ${role}; DROP ROLE ${role}`);
  }
});

test("drizzle's logger gets the statement, but no context (invariant 10)", async () => {
  queryLog.length = 0;
  await db.transaction(async (tx) => {
    await emitEvent(tx, { type: 'a', context: { secret: CANARY } });
    await emitEvents(tx, [
      { type: 'b', context: { secret: CANARY } },
      { type: 'c', context: { secret: CANARY } },
    ]);
  });
  const log = queryLog.join('\n');
  expect(log).toContain('INSERT INTO outbox.event');
  expect(log).toContain('[event context]');
  expect(log).not.toContain(CANARY);
  expect((await stored()).map((row) => row.context)).toEqual(Array(3).fill(`{"secret":"${CANARY}"}`));
});

/** A context manager as an OpenTelemetry SDK registers one. */
function contextManager(): ContextManager {
  const storage = new AsyncLocalStorage<Context>();
  return {
    active: () => storage.getStore() ?? ROOT_CONTEXT,
    with: (active, run, self, ...args) => storage.run(active, () => run.call(self, ...args)),
    bind: (_, target) => target,
    enable() {
      return this;
    },
    disable() {
      return this;
    },
  };
}
