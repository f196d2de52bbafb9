import { drizzle, type NodePgDatabase, type NodePgTransaction } from 'drizzle-orm/node-postgres';
// oxlint-disable-next-line no-restricted-imports -- the tests need the real classes of pg
import { Client, type ClientBase, Pool, type PoolClient } from 'pg';
import { describe, expect, expectTypeOf, type Mock, test, vi } from 'vitest';
import { OutboxError } from '../errors.ts';
import { emitEvent, emitEvents } from './emit.ts';
import type { Transaction } from './transaction.ts';

const EVENT = { type: 'order.placed', context: { orderId: 'canary' } };

async function refusal(tx: unknown): Promise<OutboxError> {
  for (const call of [() => emitEvent(tx as Transaction, EVENT), () => emitEvents(tx as Transaction, [])]) {
    await expect(call()).rejects.toMatchObject({ code: 'OUTBOX_NO_TRANSACTION' });
  }
  const error: unknown = await emitEvent(tx as Transaction, EVENT).catch((thrown: unknown) => thrown);
  if (!(error instanceof OutboxError)) throw new Error('not an OutboxError');
  expect(error.message).not.toContain('canary');
  return error;
}

function client(status: string | null): { query: () => Promise<void>; getTransactionStatus: () => string | null } {
  return { query: vi.fn<() => Promise<void>>(() => Promise.resolve()), getTransactionStatus: () => status };
}

/** The methods by which `open` recognises a drizzle transaction, over a client. */
function drizzleTx(beneath: unknown): { execute: Mock<() => Promise<void>> } {
  return {
    execute: vi.fn<() => Promise<void>>(() => Promise.resolve()),
    rollback: vi.fn<() => void>(),
    refreshMaterializedView: vi.fn<() => void>(),
    session: { client: beneath },
  } as ReturnType<typeof drizzleTx>;
}

describe('emitEvent, given a client', () => {
  test.for([
    ['I', /not in a transaction/],
    [null, /not in a transaction/],
    ['E', /already failed/],
  ] as const)('it rejects transaction status %s before any SQL, also beneath drizzle', async ([status, message]) => {
    const direct = client(status);
    expect((await refusal(direct)).message).toMatch(message);
    expect(direct.query).not.toHaveBeenCalled();
    const tx = drizzleTx(client(status));
    expect((await refusal(tx)).message).toMatch(message);
    expect(tx.execute).not.toHaveBeenCalled();
  });

  test('it accepts a client in an open transaction', async () => {
    const open = client('T');
    await expect(emitEvent(open, EVENT)).resolves.toMatch(/^[0-9a-f-]{36}$/);
    await expect(emitEvents(open, [])).resolves.toEqual([]);
    expect(open.query).toHaveBeenCalledOnce();
  });
});

describe('emitEvent, given no transaction', () => {
  class EntityManager {
    readonly secret = 'canary';
    execute(): void {}
    rollback(): void {}
  }

  test.for<[string, unknown]>([
    ['undefined', undefined],
    ['null', null],
    ['a string', 'postgres://user:canary@host/db'],
    ['an object', {}],
    ['a function', () => 1],
    ['an array', []],
    ['EntityManager', new EntityManager()],
    ['BoundPool, a pool', new Pool()],
    ['a promise: await it first', Promise.resolve()],
    ['NodePgDatabase, a database', drizzle.mock()],
    ['NodePgDatabase, a database', drizzle(new Pool())],
    [
      "OldClient, a client that can't tell",
      new (class OldClient {
        query(): void {}
        connect(): void {}
      })(),
    ],
    ['a drizzle transaction over undefined', drizzleTx(undefined)],
    ['a drizzle transaction over undefined', Object.assign(drizzleTx(undefined), { session: undefined })],
    ['a drizzle transaction over an object', drizzleTx({ query: () => 1 })],
    ['a drizzle transaction over an instance of BoundPool', drizzleTx(new Pool())],
  ])('it rejects and names only the kind or class: %s', async ([name, given]) => {
    const { message } = await refusal(given);
    expect(message).toContain(name);
  });

  test('it rejects a client of pg that is not connected', async () => {
    expect((await refusal(new Client())).message).toMatch(/not in a transaction/);
  });
});

/** Never called: tsc checks it. */
const refused = async (pool: Pool, db: NodePgDatabase): Promise<void> => {
  // @ts-expect-error -- a pool
  await emitEvent(pool, EVENT);
  // @ts-expect-error -- a database
  await emitEvent(db, EVENT);
  // @ts-expect-error -- nothing
  await emitEvents(undefined, [EVENT]);
  await db.transaction(async (tx) => {
    await emitEvent(tx, EVENT);
    await tx.transaction(async (nested) => emitEvents(nested, [EVENT]));
  });
};

test('the types accept open transactions, and reject pools and databases', () => {
  expectTypeOf<Client>().toExtend<Transaction>();
  expectTypeOf<PoolClient>().toExtend<Transaction>();
  expectTypeOf<ClientBase>().toExtend<Transaction>();
  expectTypeOf<NodePgTransaction<Record<string, unknown>, Record<string, never>>>().toExtend<Transaction>();
  expectTypeOf<NodePgTransaction<Record<string, never>, Record<string, never>>>().toExtend<Transaction>();

  expectTypeOf<Pool>().not.toExtend<Transaction>();
  expectTypeOf<NodePgDatabase>().not.toExtend<Transaction>();
  expectTypeOf<NodePgDatabase<Record<string, unknown>>>().not.toExtend<Transaction>();
  expectTypeOf<undefined>().not.toExtend<Transaction>();

  expect(refused).toBeTypeOf('function');
});
