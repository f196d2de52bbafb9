/** Definitions as an application has them, of each library. */
import { type } from 'arktype';
import * as v from 'valibot';
import { z } from 'zod';
import { defineEvent } from '../../src/app/index.ts';

const placed = {
  orderId: z.string().describe('The number on the invoice'),
  amount: z.number().multipleOf(0.01),
  weight: z.number().optional(),
  address: z.object({ city: z.string(), zip: z.string().nullable() }),
  tags: z.array(z.string()),
  placedAt: z.date(),
  status: z.enum(['open', 'paid']),
};
const orderPlaced1 = defineEvent('order.placed', { schema: z.object({ ...placed, customer: z.number().int() }) });
const orderPlaced2 = defineEvent('order.placed', {
  version: 2,
  schema: z
    .object({
      ...placed,
      customer: z.string(),
      items: z.array(z.object({ sku: z.string(), price: z.number().optional() })),
      raw: z.unknown(),
    })
    .describe('A customer placed an order'),
});
export const orders = { orderPlaced: [orderPlaced1, orderPlaced2] as const };

export const invoicePaid = defineEvent('invoice paid: "it\'s" `done`', {
  schema: v.object({
    subject: v.string(),
    event_type: v.number(),
    event_context: v.string(),
    event_context_text: v.record(v.string(), v.number()),
    paid: v.boolean(),
    dueOn: v.optional(v.pipe(v.string(), v.isoDate())),
    'odd `key`': v.nullish(v.pipe(v.number(), v.integer())),
    a: v.object({ b: v.string() }),
    a_b: v.string(),
  }),
});

export default defineEvent('stockCounted', {
  schema: type({ count: 'number.integer', countedAt: 'Date', 'by?': 'string|number' }),
});

export const signedUp = defineEvent<{ userId: string }>('user.signed_up');
