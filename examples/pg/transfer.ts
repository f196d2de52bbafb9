import { AsyncLocalStorage } from 'node:async_hooks';
import type { ClientBase, Pool } from 'pg';
import { createOutbox, defineEvent } from 'pg-outbox-clickhouse';

export interface Transfer {
  readonly from: string;
  readonly to: string;
  readonly amount: number;
}

/** Types alone: no validator is needed. */
export const moneyMoved = defineEvent<Transfer>('money.moved');

/** Who is asking. */
export const actors = new AsyncLocalStorage<string>();

const outbox = createOutbox({
  environment: process.env['NODE_ENV'] ?? 'development',
  context: () => ({ actor: actors.getStore() }),
});

/** Within the caller's transaction. */
export async function transfer(client: ClientBase, { from, to, amount }: Transfer): Promise<void> {
  await client.query('UPDATE accounts SET balance = balance + $2 WHERE name = $1', [to, amount]);
  await outbox.emitEvent(client, moneyMoved({ from, to, amount }));
  // refused by the table where there is not enough
  await client.query('UPDATE accounts SET balance = balance - $2 WHERE name = $1', [from, amount]);
}

export async function inTransaction<T>(pool: Pool, work: (client: ClientBase) => Promise<T>): Promise<T> {
  const client = await pool.connect();
  try {
    await client.query('BEGIN');
    const result = await work(client);
    await client.query('COMMIT');
    return result;
  } catch (error) {
    // the first error tells more than a connection that is gone
    await client.query('ROLLBACK').catch(() => undefined);
    throw error;
  } finally {
    client.release();
  }
}
