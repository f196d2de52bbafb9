import { drizzle, type PostgresJsDatabase } from 'drizzle-orm/postgres-js';
import { emitEvent } from '../../../src/app/index.ts';
import { orders } from './orders.ts';
import { quietSql } from './postgres-js.ts';
import type { Client, Opened, Order } from './subject.ts';

export async function placeOrder(db: PostgresJsDatabase, order: Order): Promise<void> {
  await db.transaction(async (tx) => {
    await tx.insert(orders).values(order);
    await emitEvent(tx, { type: 'order.placed', context: { orderId: order.id } });
  });
}

type Tx = Parameters<Parameters<PostgresJsDatabase['transaction']>[0]>[0];

function opened(tx: Tx): Opened {
  return {
    tx,
    run: (sql) => tx.execute(sql),
    nested: (work) => tx.transaction((inner) => work(opened(inner))),
  };
}

export const drizzlePostgresJs: Client = {
  name: 'drizzle over postgres.js',
  tells: { failed: false, over: false },
  diesWithConnection: true,
  connect: async (url) => {
    const sql = quietSql(url);
    const db = drizzle(sql);
    return {
      placeOrder: (order) => placeOrder(db, order),
      transaction: (work) => db.transaction((tx) => work(opened(tx))),
      refused: [['a database', db, /pass the tx of its transaction/]],
      close: () => sql.end({ timeout: 1 }),
    };
  },
};
