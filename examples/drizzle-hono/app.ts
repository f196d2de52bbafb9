import { randomUUID } from 'node:crypto';
import { eq } from 'drizzle-orm';
import type { NodePgDatabase } from 'drizzle-orm/node-postgres';
import { integer, pgTable, text, uuid } from 'drizzle-orm/pg-core';
import { Hono } from 'hono';
import { contextStorage } from 'hono/context-storage';
import { HTTPException } from 'hono/http-exception';
import { requestId } from 'hono/request-id';
import { orderPaid, orderPlaced, outbox } from './events.ts';

const orders = pgTable('orders', {
  id: uuid().primaryKey(),
  amount: integer().notNull(),
  status: text().notNull().default('placed'),
});

const CREDIT = 400;

export function createApp(db: NodePgDatabase): Hono {
  const app = new Hono();
  app.use(contextStorage(), requestId());

  app.post('/orders', async (c) => {
    const { amount } = await c.req.json<{ amount: number }>();
    const order = { id: randomUUID(), amount };
    await db.transaction(async (tx) => {
      await tx.insert(orders).values(order);
      await outbox.emitEvent(tx, orderPlaced({ orderId: order.id, amount }));
    });
    return c.json(order, 201);
  });

  app.post('/orders/:id/payment', async (c) => {
    const { card } = await c.req.json<{ card: string }>();
    await db.transaction(async (tx) => {
      const [order] = await tx
        .update(orders)
        .set({ status: 'paid' })
        .where(eq(orders.id, c.req.param('id')))
        .returning();
      if (order === undefined) throw new HTTPException(404);
      await outbox.emitEvent(tx, orderPaid({ orderId: order.id, card }));
      // the transaction is rolled back, and the event with it
      if (order.amount > CREDIT) throw new HTTPException(402);
    });
    return c.json({ status: 'paid' });
  });

  return app;
}
