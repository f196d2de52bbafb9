import type { Pool } from 'pg';
import { emitEvent, type QueryTransaction } from '../../../src/app/index.ts';
import { inTransaction, quietPool } from './pg.ts';
import { type Client, type Order, withSavepoints } from './subject.ts';

export async function placeOrder(pool: Pool, order: Order): Promise<void> {
  await inTransaction(pool, async (client) => {
    const tx: QueryTransaction = { transaction: true, query: (sql, params) => client.query(sql, params) };
    await client.query('INSERT INTO orders VALUES ($1, $2)', [order.id, order.amount]);
    await emitEvent(tx, { type: 'order.placed', context: { orderId: order.id } });
  });
}

class Database {
  query(): void {}
}

/** Any client that the library does not know. */
export const contract: Client = {
  name: '{ transaction: true, query } of anything',
  tells: { failed: false, over: false },
  connect: async (url) => {
    const pool = quietPool(url);
    const query = (sql: string, params: unknown[]): Promise<unknown> => pool.query(sql, params);
    return {
      placeOrder: (order) => placeOrder(pool, order),
      transaction: (work) =>
        inTransaction(pool, (client) =>
          work(
            withSavepoints({ transaction: true, query: (sql, params) => client.query(sql, params) }, (sql) =>
              client.query(sql),
            ),
          ),
        ),
      refused: [
        ['an instance with query', new Database(), /an instance of Database, .*transaction: true/],
        ['an instance that is marked', Object.assign(new Database(), { transaction: true }), /an instance of Database/],
        [
          'a plain object that is a client',
          { query: () => 1, connect: () => 1, end: () => 1 },
          /a client that can't tell/,
        ],
        ['a plain object that begins', { query: () => 1, transaction: () => 1 }, /an object, .*transaction: true/],
        // a module as in the guide of node-postgres
        ['a module around a pool', await import('./query.module.ts'), /a module, .*transaction: true/],
        ['what such a module exports', { query, getClient: () => pool.connect() }, /an object, .*transaction: true/],
      ],
      close: () => pool.end(),
    };
  },
};
