import { createOutbox, defineEvent } from 'pg-outbox-clickhouse';
import * as v from 'valibot';
import type { PrismaClient } from './generated/client.ts';

export const userSignedUp = defineEvent('user.signed_up', {
  schema: v.object({ userId: v.pipe(v.string(), v.uuid()), email: v.pipe(v.string(), v.toLowerCase(), v.email()) }),
});

export const outbox = createOutbox({
  events: [userSignedUp],
  context: () => ({ actor: process.env['USER'] }),
});

/** Makes a user, and uses the invitation up. Rejects, with nothing done, where there is none of this code. */
export async function signUp(prisma: PrismaClient, email: string, code: string): Promise<string> {
  return prisma.$transaction(async (tx) => {
    const user = await tx.user.create({ data: { email } });
    await outbox.emitEvent(tx, userSignedUp({ userId: user.id, email }));
    // where there is none, Prisma throws P2025, and the transaction is rolled back
    await tx.invitation.delete({ where: { code } });
    return user.id;
  });
}
