import { type EntityManager, EntitySchema, MikroORM } from '@mikro-orm/postgresql';
import { emitEvent } from '../../../src/app/index.ts';
import type { Client, Opened, Order } from './subject.ts';

export const OrderEntity = new EntitySchema<Order>({
  name: 'Order',
  tableName: 'orders',
  properties: { id: { type: 'uuid', primary: true }, amount: { type: 'integer' } },
});

export async function placeOrder(em: EntityManager, order: Order): Promise<void> {
  await em.transactional(async (tx) => {
    tx.create(OrderEntity, order);
    await emitEvent(tx, { type: 'order.placed', context: { orderId: order.id } });
  });
}

function opened(em: EntityManager): Opened {
  return {
    tx: em,
    run: (sql) => em.execute(sql),
    nested: (work) => em.transactional((inner) => work(opened(inner))),
  };
}

export const mikroOrm: Client = {
  name: 'MikroORM',
  tells: { failed: false, over: true },
  connect: async (url) => {
    const orm = await MikroORM.init({
      clientUrl: url,
      entities: [OrderEntity],
      pool: { max: 4 },
      ensureDatabase: false,
    });
    return {
      placeOrder: (order) => placeOrder(orm.em.fork(), order),
      transaction: (work) => orm.em.fork().transactional((em) => work(opened(em))),
      refused: [
        ['MikroORM', orm, /MikroORM: pass the em/],
        ['its em', orm.em, /not in a transaction/],
        ['a fork', orm.em.fork(), /not in a transaction/],
      ],
      // Not awaited: it would wait for the connection that a test has cut, and that never comes back.
      close: async () => void orm.close(),
    };
  },
};
