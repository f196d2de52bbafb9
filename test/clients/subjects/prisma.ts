import { PrismaPg } from '@prisma/adapter-pg';
import { emitEvent } from '../../../src/app/index.ts';
import { type Prisma, PrismaClient } from '../generated/client.ts';
import type { Client, Opened, Order } from './subject.ts';

export async function placeOrder(prisma: PrismaClient, order: Order): Promise<void> {
  await prisma.$transaction(async (tx) => {
    await tx.order.create({ data: order });
    await emitEvent(tx, { type: 'order.placed', context: { orderId: order.id } });
  });
}

function opened(tx: Prisma.TransactionClient): Opened {
  return {
    tx,
    run: (sql) => tx.$executeRawUnsafe(sql),
    nested: (work) => tx.$transaction((inner) => work(opened(inner))),
  };
}

export const prisma: Client = {
  name: 'Prisma',
  tells: { failed: false, over: true },
  connect: async (url) => {
    const client = new PrismaClient({
      adapter: new PrismaPg({ connectionString: url, max: 4 }, { onPoolError: () => undefined }),
      transactionOptions: { timeout: 60_000, maxWait: 60_000 },
    });
    return {
      placeOrder: (order) => placeOrder(client, order),
      transaction: (work) => client.$transaction((tx) => work(opened(tx))),
      refused: [['the client', client, /pass the tx of its \$transaction/]],
      close: () => client.$disconnect(),
    };
  },
};
