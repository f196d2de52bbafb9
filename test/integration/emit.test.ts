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

/** What also runs statements of the tests' own; test/clients has the other clients. */
type Transaction = DrizzleTransaction | PgTransaction;

let outbox: Outbox;
let pool: Pool;
let db: NodePgDatabase;
const queryLog: string[] = [];

beforeAll(async () => {
  outbox = await Outbox.create();
  pool = new Pool({ connectionString: outbox.databaseUrl, max: 4 });
  // Clients of the pool say so when they are ended by the test of a lost connection.
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

/** The two kinds of transactions, each of a client of the pool. */
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
  version: number;
  traceparent: string | null;
  tracestate: string | null;
}

/** What the table holds, as text where node-postgres would convert; in the order of insertion, for want of a key. */
async function stored(): Promise<Stored[]> {
  const { rows } = await pool.query<Stored>(`
    SELECT event_id AS id, event_type AS type, (event_date_time AT TIME ZONE 'UTC')::text AS time, environment,
      event_context::text AS context, metadata_version AS version, traceparent, tracestate
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
  test('commit: one row, value for value', async () => {
    const event: OutboxEvent = {
      type: 'ördér.placed 🎉 "\\',
      context: {
        text: 'ü€😀 \u0000 \ud800 \u2028 \\ " \n',
        at: new Date(Date.UTC(2026, 0, 2)),
        list: [1.5, null, true, { a: {} }],
        gone: undefined,
        '': 0,
      },
      id: '0AF76519-16CD-43DD-8448-EB211C80319C',
      time: new Date('2026-01-02T03:04:05.678Z'),
      environment: "prod 'ü'",
      metadataVersion: 2_147_483_647,
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
        version: 2_147_483_647,
        traceparent: null,
        tracestate: null,
      },
    ]);
  });

  test('the same values through emitEvents', async () => {
    const contexts = [{ a: '\u0000 \ud800 \n \\n "' }, {}, { b: "'; {},\\ " }];
    const types = ['a"b\\c', 'NULL', '{x,\n}'];
    const events = contexts.map((context, index) => ({
      type: types[index] ?? '',
      context,
      environment: index === 0 ? '' : `"${index}\\`,
      time: new Date(index === 2 ? '2299-12-31T23:59:59.999Z' : '1900-01-01T00:00:00Z'),
      metadataVersion: index,
    }));
    const ids = await within((tx) => emitEvents(tx, events));
    const rows = await stored();
    expect(rows.map((row) => row.id)).toEqual(ids);
    expect(rows.map((row) => row.type)).toEqual(types);
    expect(rows.map((row) => row.environment)).toEqual(['', '"1\\', '"2\\']);
    expect(rows.map((row) => row.context)).toEqual(contexts.map((context) => JSON.stringify(context)));
    expect(rows.map((row) => row.version)).toEqual([0, 1, 2]);
    expect(rows.map((row) => row.time)).toEqual([
      '1900-01-01 00:00:00',
      '1900-01-01 00:00:00',
      '2299-12-31 23:59:59.999',
    ]);
  });

  test('a context of 1 MB, and one as deep as is allowed', async () => {
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

  test('rollback: nothing', async () => {
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

  test('a refused event leaves the transaction open', async () => {
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

  test('no events: nothing is sent', async () => {
    await within(async (tx) => expect(await emitEvents(tx, [])).toEqual([]));
    expect(await stored()).toEqual([]);
  });

  test('50,000 events in one call keep their order', async () => {
    const events = Array.from({ length: 50_000 }, (_, index) => ({ type: 'a', context: { index, text: 'x\\"' } }));
    const ids = await within((tx) => emitEvents(tx, events));
    const rows = await stored();
    expect(rows.map((row) => row.id)).toEqual(ids);
    expect(rows.map((row) => row.context)).toEqual(events.map((event) => JSON.stringify(event.context)));
    expect(ids.toSorted()).toEqual(ids);
  });

  test('the active span goes with it', async () => {
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

  test('a failed transaction is refused before any SQL', async () => {
    const failing = within(async (tx) => {
      // the second one is sent only when the client has heard that the first one failed the transaction
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

  test('a transaction that has ended is refused', async () => {
    let kept: Transaction | undefined;
    await within(async (tx) => {
      kept = tx;
    });
    await expect(emitEvent(kept!, { type: 'a', context: {} })).rejects.toMatchObject({ code: 'OUTBOX_NO_TRANSACTION' });
    expect(await stored()).toEqual([]);
  });

  test('a missing table: the SQLSTATE, and nothing of the event', async () => {
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

  test('a row that the server refuses: the constraint, and nothing of the event', async () => {
    await pool.query(`ALTER TABLE outbox.event ADD CONSTRAINT no_a CHECK (event_type <> 'a')`);
    try {
      const error = await rejection(within((tx) => emitEvent(tx, { type: 'a', context: { secret: CANARY } })));
      expect(error).toMatchObject({ sqlState: '23514', cause: { code: '23514', constraint: 'no_a' } });
      expect(printed(error)).not.toContain(CANARY);
    } finally {
      await pool.query('ALTER TABLE outbox.event DROP CONSTRAINT no_a');
    }
  });

  test('a lost connection: its message, and nothing of the event', async () => {
    let error: Error | undefined;
    const lost = within(async (tx) => {
      const lookUp = "SELECT set_config('application_name', 'doomed', false)";
      await ('execute' in tx ? tx.execute(lookUp) : tx.query(lookUp, []));
      const kill = `SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'doomed'`;
      await pool.query(kill);
      error = await rejection(emitEvent(tx, { type: 'a', context: { secret: CANARY } }));
    });
    // Whatever comes after the loss, such as ROLLBACK, fails in the caller's code.
    await expect(lost).rejects.toThrow(/./);
    expect(error).toMatchObject({ code: 'OUTBOX_EMIT_FAILED', cause: { message: expect.stringMatching(/onnection/) } });
    expect(printed(error!)).not.toContain(CANARY);
    expect(await stored()).toEqual([]);
  });
});

describe('savepoints', () => {
  test('pg: what is rolled back to a savepoint leaves nothing', async () => {
    await inPgTransaction(async (client) => {
      await emitEvent(client, { type: 'kept', context: {} });
      await client.query('SAVEPOINT one');
      await emitEvent(client, { type: 'undone', context: {} });
      await client.query('ROLLBACK TO one');
      await emitEvent(client, { type: 'kept too', context: {} });
    });
    expect((await stored()).map((row) => row.type)).toEqual(['kept', 'kept too']);
  });

  test('drizzle: a nested transaction keeps or undoes its own', async () => {
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
])('%s is refused before any SQL', async ([, given]) => {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- what the types forbid
  const tx = given() as Transaction;
  await expect(emitEvent(tx, { type: 'a', context: {} })).rejects.toMatchObject({ code: 'OUTBOX_NO_TRANSACTION' });
  expect(await stored()).toEqual([]);
});

test('a client outside a transaction is refused', async () => {
  const client = await pool.connect();
  try {
    await expect(emitEvent(client, { type: 'a', context: {} })).rejects.toMatchObject({
      code: 'OUTBOX_NO_TRANSACTION',
    });
  } finally {
    client.release();
  }
});

test('a role needs INSERT on outbox.event and USAGE of its schema, nothing else', async () => {
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

test("drizzle's own logger sees the statement, but no context (invariant 10)", async () => {
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

/** What an OpenTelemetry SDK registers, as far as the API's contract goes. */
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
