import { drizzle, type NodePgDatabase } from 'drizzle-orm/node-postgres';
import { emitEvent } from '../../../src/app/index.ts';
import { orders } from './orders.ts';
import { quietPool } from './pg.ts';
import type { Client, Opened, Order } from './subject.ts';

export async function placeOrder(db: NodePgDatabase, order: Order): Promise<void> {
  await db.transaction(async (tx) => {
    await tx.insert(orders).values(order);
    await emitEvent(tx, { type: 'order.placed', context: { orderId: order.id } });
  });
}

type Tx = Parameters<Parameters<NodePgDatabase['transaction']>[0]>[0];

function opened(tx: Tx): Opened {
  return {
    tx,
    run: (sql) => tx.execute(sql),
    nested: (work) => tx.transaction((inner) => work(opened(inner))),
  };
}

export const drizzleNodePostgres: Client = {
  name: 'drizzle over node-postgres',
  tells: { failed: true, over: true },
  connect: async (url) => {
    const pool = quietPool(url);
    const db = drizzle(pool);
    return {
      placeOrder: (order) => placeOrder(db, order),
      transaction: (work) => db.transaction((tx) => work(opened(tx))),
      refused: [['a database', db, /pass the tx of its transaction/]],
      close: () => pool.end(),
    };
  },
};
