import createKnex, { type Knex } from 'knex';
import { emitEvent } from '../../../src/app/index.ts';
import type { Client, Opened, Order } from './subject.ts';

export async function placeOrder(knex: Knex, order: Order): Promise<void> {
  await knex.transaction(async (trx) => {
    await trx('orders').insert(order);
    await emitEvent(trx, { type: 'order.placed', context: { orderId: order.id } });
  });
}

function opened(trx: Knex.Transaction): Opened {
  return {
    tx: trx,
    run: (sql) => trx.raw(sql),
    nested: (work) => trx.transaction((inner) => work(opened(inner))),
  };
}

export const knexPg: Client = {
  name: 'Knex',
  tells: { failed: true, over: true },
  connect: async (url) => {
    const knex = createKnex({ client: 'pg', connection: url, pool: { min: 0, max: 4 } });
    return {
      placeOrder: (order) => placeOrder(knex, order),
      transaction: (work) => knex.transaction((trx) => work(opened(trx))),
      refused: [['knex', knex, /pass the trx of its transaction/]],
      close: () => knex.destroy(),
    };
  },
};
