import { hasMethods, type Method, notOpen, plain, type Refusal, refused, type Send } from './client.ts';

/** The `tx` of Prisma's `prisma.$transaction(async (tx) => …)`, with the provider postgresql. The client itself has `$connect`. */
export interface PrismaTransaction {
  $executeRawUnsafe(query: string, ...values: unknown[]): PromiseLike<number>;
  readonly $connect?: never;
}

const THE_CLIENT = "Prisma's client: pass the tx of its $transaction(async (tx) => …)";
export interface PrismaClientItself extends Refusal<typeof THE_CLIENT> {
  readonly $connect: Method;
  readonly $executeRawUnsafe: Method;
}

/** "Transaction API error": the transaction has ended, or its `timeout` is over. */
const TRANSACTION_OVER = 'P2028';

export function openPrisma(tx: unknown): Send | undefined {
  if (!hasMethods(tx, '$executeRawUnsafe')) return undefined;
  if (hasMethods(tx, '$connect')) throw refused(THE_CLIENT);
  return sendByPrisma(tx as unknown as PrismaTransaction);
}

function sendByPrisma(tx: PrismaTransaction): Send {
  return async (statement) => {
    try {
      return await tx.$executeRawUnsafe(statement.text, ...plain(statement));
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === TRANSACTION_OVER) throw notOpen();
      throw error;
    }
  };
}
