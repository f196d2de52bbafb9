import { hasMethods, type Method, notOpen, type Refusal, refused, type Send } from './client.ts';
import { openKysely } from './kysely.ts';

/**
 * The `em` of MikroORM's `em.transactional((em) => …)`, or one between `begin` and `commit`, with the driver PostgreSQL.
 * `orm.em` has the same type, but no transaction: it is refused at run time.
 */
export interface MikroOrmTransaction {
  isInTransaction(): boolean;
  getTransactionContext(): unknown;
}

const THE_ORM = 'MikroORM: pass the em of its em.transactional((em) => …)';
export interface MikroOrmItself extends Refusal<typeof THE_ORM> {
  readonly em: unknown;
  readonly getMetadata: Method;
  readonly isConnected: Method;
}

export function openMikroOrm(tx: unknown): Send | undefined {
  if (!hasMethods(tx, 'isInTransaction', 'getTransactionContext')) {
    if (hasMethods(tx, 'getMetadata', 'isConnected') && 'em' in tx) throw refused(THE_ORM);
    return undefined;
  }
  const em = tx as unknown as MikroOrmTransaction;
  if (!em.isInTransaction()) throw notOpen();
  // From version 7 on, MikroORM's transactions are Kysely's.
  const send = openKysely(em.getTransactionContext());
  if (send === undefined) throw refused('a transaction of MikroORM that is none of Kysely: 7 and newer are known');
  return send;
}
