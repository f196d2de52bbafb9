import { Client as PgClient, Pool, type PoolClient } from 'pg';
import { emitEvent } from '../../../src/app/index.ts';
import { type Client, type Order, withSavepoints } from './subject.ts';

export async function placeOrder(pool: Pool, order: Order): Promise<void> {
  const client = await pool.connect();
  try {
    await client.query('BEGIN');
    await client.query('INSERT INTO orders VALUES ($1, $2)', [order.id, order.amount]);
    await emitEvent(client, { type: 'order.placed', context: { orderId: order.id } });
    await client.query('COMMIT');
  } catch (error) {
    await client.query('ROLLBACK').catch(() => undefined);
    throw error;
  } finally {
    client.release();
  }
}

export const pg: Client = {
  name: 'pg',
  tells: { failed: true, over: true },
  connect: async (url) => {
    const pool = quietPool(url);
    return {
      placeOrder: (order) => placeOrder(pool, order),
      transaction: (work) => inTransaction(pool, (client) => work(withSavepoints(client, (sql) => client.query(sql)))),
      refused: [
        ['a pool', pool, /a pool: pass a client/],
        ['a client that is not connected', new PgClient(url), /not in a transaction/],
      ],
      close: () => pool.end(),
    };
  },
};

/** Clients emit an error when the test of a lost connection ends them. */
export function quietPool(url: string): Pool {
  const pool = new Pool({ connectionString: url, max: 4 });
  pool.on('error', () => undefined);
  pool.on('connect', (client) => client.on('error', () => undefined));
  return pool;
}

export async function inTransaction(pool: Pool, work: (client: PoolClient) => Promise<void>): Promise<void> {
  const client = await pool.connect();
  try {
    await client.query('BEGIN');
    await work(client);
    await client.query('COMMIT');
  } catch (error) {
    await client.query('ROLLBACK').catch(() => undefined);
    throw error;
  } finally {
    client.release();
  }
}
