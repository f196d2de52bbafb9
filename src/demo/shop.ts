import { randomUUID } from 'node:crypto';
import { drizzle } from 'drizzle-orm/node-postgres';
import { numeric, pgTable, text, uuid } from 'drizzle-orm/pg-core';
import { Pool } from 'pg';
import { emitEvent, emitEvents } from '../app/index.ts';

const orders = pgTable('orders', {
  id: uuid().primaryKey(),
  customer: text().notNull(),
  amount: numeric().notNull(),
});

const TRANSACTIONS = 3000;
const WORKERS = 8;
/** One transaction in so many fails on purpose, after its events were emitted. */
const FAILURES = 8;
const IMPORTED = 20_000;

/** What the shop itself knows of its transactions, to be compared with what ClickHouse has. */
export interface Record {
  commits: number;
  rollbacks: number;
  readonly committed: string[];
  readonly rolledBack: string[];
}

class PaymentRefused extends Error {}

/** Business changes and their events, each in one transaction, from several workers at once. Calls `onProgress` now and then. */
export async function runShop(url: string, onProgress: (record: Record) => void): Promise<Record> {
  const pool = new Pool({ connectionString: url, max: WORKERS });
  const db = drizzle(pool);
  const record: Record = { commits: 0, rollbacks: 0, committed: [], rolledBack: [] };

  const placeOrder = async (number: number): Promise<void> => {
    const events: string[] = [];
    try {
      await db.transaction(async (tx) => {
        const order = { id: randomUUID(), customer: `customer-${number % 97}`, amount: String((number % 500) + 0.5) };
        await tx.insert(orders).values(order);
        events.push(
          await emitEvent(tx, { type: 'order.placed', context: { orderId: order.id, amount: order.amount } }),
        );
        if (number % 3 === 0) events.push(await emitEvent(tx, { type: 'coupon.used', context: { orderId: order.id } }));
        if (number % FAILURES === 0) throw new PaymentRefused();
        events.push(await emitEvent(tx, { type: 'order.paid', context: { orderId: order.id } }));
      });
      record.commits++;
      record.committed.push(...events);
    } catch (error) {
      if (!(error instanceof PaymentRefused)) throw error;
      record.rollbacks++;
      record.rolledBack.push(...events);
    }
    if (number % 500 === 0) onProgress(record);
  };

  const importOrders = async (): Promise<void> => {
    const imported = Array.from({ length: IMPORTED }, (_, row) => ({ type: 'order.imported', context: { row } }));
    record.committed.push(...(await db.transaction(async (tx) => emitEvents(tx, imported))));
    record.commits++;
  };

  let next = 1;
  const work = async (): Promise<void> => {
    while (next <= TRANSACTIONS) await placeOrder(next++);
  };
  await Promise.all([importOrders(), ...Array.from({ length: WORKERS - 1 }, work)]);
  await pool.end();
  return record;
}
