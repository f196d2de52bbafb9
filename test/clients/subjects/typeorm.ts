import { DataSource, type EntityManager, EntitySchema, type QueryRunner } from 'typeorm';
import { emitEvent } from '../../../src/app/index.ts';
import { type Client, type Opened, type Order, withSavepoints } from './subject.ts';

export const OrderEntity = new EntitySchema<Order>({
  name: 'orders',
  columns: { id: { type: 'uuid', primary: true }, amount: { type: 'integer' } },
});

export async function placeOrder(dataSource: DataSource, order: Order): Promise<void> {
  await dataSource.transaction(async (manager) => {
    await manager.insert(OrderEntity, order);
    await emitEvent(manager, { type: 'order.placed', context: { orderId: order.id } });
  });
}

function opened(manager: EntityManager): Opened {
  return {
    tx: manager,
    run: (sql) => manager.query(sql),
    nested: (work) => manager.transaction((inner) => work(opened(inner))),
  };
}

export const typeorm: Client = {
  name: 'TypeORM',
  tells: { failed: true, over: true },
  connect: async (url) => {
    const dataSource = await connected(url);
    const runner = dataSource.createQueryRunner();
    return {
      placeOrder: (order) => placeOrder(dataSource, order),
      transaction: (work) => dataSource.transaction((manager) => work(opened(manager))),
      refused: [
        ['a DataSource', dataSource, /a DataSource of TypeORM: pass the manager/],
        ['its manager', dataSource.manager, /the EntityManager of a DataSource/],
        ['a QueryRunner without a transaction', runner, /not in a transaction/],
      ],
      close: () => dataSource.destroy(),
    };
  },
};

/** A transaction that its user ends. */
export const typeormRunner: Client = {
  name: 'TypeORM, QueryRunner',
  tells: { failed: true, over: true },
  connect: async (url) => {
    const dataSource = await connected(url);
    const transaction = async (work: (runner: QueryRunner) => Promise<unknown>): Promise<void> => {
      const runner = dataSource.createQueryRunner();
      await runner.startTransaction();
      try {
        await work(runner);
        await runner.commitTransaction();
      } catch (error) {
        await runner.rollbackTransaction();
        throw error;
      } finally {
        await runner.release();
      }
    };
    return {
      placeOrder: (order) =>
        transaction(async (runner) => {
          await runner.manager.insert(OrderEntity, order);
          await emitEvent(runner, { type: 'order.placed', context: { orderId: order.id } });
        }),
      transaction: (work) => transaction((runner) => work(withSavepoints(runner, (sql) => runner.query(sql)))),
      refused: [],
      close: () => dataSource.destroy(),
    };
  },
};

async function connected(url: string): Promise<DataSource> {
  const dataSource = new DataSource({
    type: 'postgres',
    url,
    poolSize: 4,
    entities: [OrderEntity],
    poolErrorHandler: () => undefined,
  });
  return dataSource.initialize();
}
