import postgres from 'postgres';
import { emitEvent } from '../../../src/app/index.ts';
import type { Client, Opened, Order } from './subject.ts';

export async function placeOrder(sql: postgres.Sql, order: Order): Promise<void> {
  await sql.begin(async (tx) => {
    await tx`INSERT INTO orders ${tx(order)}`;
    await emitEvent(tx, { type: 'order.placed', context: { orderId: order.id } });
  });
}

function opened(tx: postgres.TransactionSql): Opened {
  return {
    tx,
    run: (text) => tx.unsafe(text),
    nested: (work) => tx.savepoint((inner) => work(opened(inner))),
  };
}

export const postgresJs: Client = {
  name: 'postgres.js',
  tells: { failed: false, over: false },
  diesWithConnection: true,
  connect: async (url) => {
    const sql = quietSql(url);
    const reserved = await sql.reserve();
    return {
      placeOrder: (order) => placeOrder(sql, order),
      transaction: (work) => sql.begin((tx) => work(opened(tx))),
      refused: [
        ['sql', sql, /pass the sql of its begin/],
        ['a reserved connection', reserved, /a reserved connection/],
      ],
      close: async () => {
        reserved.release();
        await sql.end({ timeout: 1 });
      },
    };
  },
};

export function quietSql(url: string): postgres.Sql {
  // A rollback on a lost connection never settles. `end` would wait for it, so callers give `end` a timeout.
  return postgres(url, { max: 4, onnotice: () => undefined });
}
