import { randomUUID } from 'node:crypto';
import { trace } from '@opentelemetry/api';
import { eq } from 'drizzle-orm';
import { drizzle } from 'drizzle-orm/node-postgres';
import { numeric, pgTable, text, uuid } from 'drizzle-orm/pg-core';
import Fastify from 'fastify';
import type { FastifyInstance } from 'fastify';
import { Pool } from 'pg';
import { emitEvent } from '../app/index.ts';

const users = pgTable('users', { id: uuid().primaryKey(), name: text().notNull() });

const orders = pgTable('orders', {
  id: uuid().primaryKey(),
  userId: uuid('user_id').notNull(),
  amount: numeric().notNull(),
  status: text().notNull(),
});

/** The largest amount that the shop's imaginary bank pays. */
const CREDIT = 400;

class PaymentRefused extends Error {}

/** What every answer says beside its own: which events the request emitted, for those who want to check. */
interface Emitted {
  readonly events: readonly string[];
  readonly traceId: string | undefined;
}

/**
 * A shop as anybody might write it: users and orders in Postgres, and for each change an event in the same transaction.
 *
 *   POST /users               a user registers
 *   POST /orders              an order is placed
 *   POST /orders/:id/payment  it is paid, or refused after its events were emitted: the transaction rolls back (402)
 */
export function createApp(databaseUrl: string): FastifyInstance {
  const pool = new Pool({ connectionString: databaseUrl, max: 10 });
  const db = drizzle(pool);
  const app = Fastify();
  app.addHook('onClose', async () => pool.end());

  app.post<{ Body: { name: string } }>('/users', async ({ body }, reply) => {
    const user = { id: randomUUID(), name: body.name };
    const event = await db.transaction(async (tx) => {
      await tx.insert(users).values(user);
      return emitEvent(tx, { type: 'user.registered', context: { userId: user.id } });
    });
    return reply.code(201).send({ ...user, ...emitted(event) });
  });

  app.post<{ Body: { userId: string; amount: number } }>('/orders', async ({ body }, reply) => {
    const order = { id: randomUUID(), userId: body.userId, amount: String(body.amount), status: 'placed' };
    const event = await db.transaction(async (tx) => {
      await tx.insert(orders).values(order);
      return emitEvent(tx, {
        type: 'order.placed',
        context: { orderId: order.id, actor: body.userId, amount: body.amount },
      });
    });
    return reply.code(201).send({ ...order, ...emitted(event) });
  });

  app.post<{ Params: { id: string } }>('/orders/:id/payment', async ({ params }, reply) => {
    const events: string[] = [];
    try {
      await db.transaction(async (tx) => {
        const [order] = await tx.update(orders).set({ status: 'paid' }).where(eq(orders.id, params.id)).returning();
        const context = { orderId: params.id, actor: order?.userId, amount: Number(order?.amount) };
        events.push(await emitEvent(tx, { type: 'payment.requested', context }));
        if (context.amount > CREDIT) throw new PaymentRefused();
        events.push(await emitEvent(tx, { type: 'order.paid', context }));
      });
      return { status: 'paid', ...emitted(...events) };
    } catch (error) {
      if (!(error instanceof PaymentRefused)) throw error;
      return reply.code(402).send({ status: 'placed', ...emitted(...events) });
    }
  });

  app.get('/health', async () => ({ ok: true }));
  return app;
}

function emitted(...events: readonly string[]): Emitted {
  return { events, traceId: trace.getActiveSpan()?.spanContext().traceId };
}
