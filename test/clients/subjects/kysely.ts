import { CompiledQuery, type ControlledTransaction, Kysely, PostgresDialect, type Transaction } from 'kysely';
import { emitEvent } from '../../../src/app/index.ts';
import { quietPool } from './pg.ts';
import { type Client, type Opened, type Order, withSavepoints } from './subject.ts';

export interface Database {
  orders: { id: string; amount: number };
}

export async function placeOrder(db: Kysely<Database>, order: Order): Promise<void> {
  await db.transaction().execute(async (trx) => {
    await trx.insertInto('orders').values(order).execute();
    await emitEvent(trx, { type: 'order.placed', context: { orderId: order.id } });
  });
}

function opened(trx: Transaction<Database>): Opened {
  return withSavepoints(trx, (sql) => trx.executeQuery(CompiledQuery.raw(sql)));
}

export const kysely: Client = {
  name: 'Kysely',
  tells: { failed: false, over: true },
  connect: async (url) => {
    const db = new Kysely<Database>({ dialect: new PostgresDialect({ pool: quietPool(url) }) });
    return {
      placeOrder: (order) => placeOrder(db, order),
      transaction: (work) => db.transaction().execute((trx) => work(opened(trx))),
      refused: [['a database', db, /pass the trx of its transaction/]],
      close: () => db.destroy(),
    };
  },
};

/** A transaction that its user ends. Nested transactions are Kysely's own savepoints. */
export const kyselyControlled: Client = {
  name: 'Kysely, controlled',
  tells: { failed: false, over: true },
  connect: controlled,
};

async function controlled(url: string): ReturnType<Client['connect']> {
  const db = new Kysely<Database>({ dialect: new PostgresDialect({ pool: quietPool(url) }) });
  const transaction = async (work: (trx: ControlledTransaction<Database>) => Promise<unknown>): Promise<void> => {
    const trx = await db.startTransaction().execute();
    try {
      await work(trx);
      await trx.commit().execute();
    } catch (error) {
      if (!trx.isRolledBack) await trx.rollback().execute();
      throw error;
    }
  };
  return {
    placeOrder: (order) =>
      transaction(async (trx) => {
        await trx.insertInto('orders').values(order).execute();
        await emitEvent(trx, { type: 'order.placed', context: { orderId: order.id } });
      }),
    transaction: (work) =>
      transaction((trx) =>
        work({
          ...opened(trx),
          nested: async (inner) => {
            const saved = await trx.savepoint('nested').execute();
            await inner(opened(saved)).catch(async (error: unknown) => {
              await saved.rollbackToSavepoint('nested').execute();
              throw error;
            });
          },
        }),
      ),
    refused: [],
    close: () => db.destroy(),
  };
}
