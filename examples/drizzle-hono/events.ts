import { tryGetContext } from 'hono/context-storage';
import type { RequestIdVariables } from 'hono/request-id';
import { createOutbox, defineEvent } from 'pg-outbox-clickhouse';
import { z } from 'zod';

export const orderPlaced = defineEvent('order.placed', {
  schema: z.object({ orderId: z.uuid(), amount: z.int().positive(), currency: z.string().default('EUR') }),
});

export const orderPaid = defineEvent('order.paid', {
  schema: z.object({ orderId: z.uuid(), card: z.string() }),
});

/** Takes these events alone, says of each which request it comes from, and never stores a card's number. */
export const outbox = createOutbox({
  events: [orderPlaced, orderPaid],
  context: () => ({ requestId: tryGetContext<{ Variables: RequestIdVariables }>()?.get('requestId') }),
  redact: ['card'],
});
