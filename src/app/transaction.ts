import { kindOf } from './problems.ts';
import { type Open, refused, type Send } from './transactions/client.ts';
import { type DrizzleTransaction, openDrizzle } from './transactions/drizzle.ts';
import { type KnexTransaction, openKnex } from './transactions/knex.ts';
import { type KyselyTransaction, openKysely } from './transactions/kysely.ts';
import { type MikroOrmTransaction, openMikroOrm } from './transactions/mikro-orm.ts';
import { openPg, type PgTransaction } from './transactions/pg.ts';
import { openPostgresJs, type PostgresJsTransaction } from './transactions/postgres-js.ts';
import { openPrisma, type PrismaTransaction } from './transactions/prisma.ts';
import { openQuery, type QueryTransaction } from './transactions/query.ts';
import { openTypeOrm, type TypeOrmQueryRunner, type TypeOrmTransaction } from './transactions/typeorm.ts';

/** The transaction in which an event is emitted: the one that makes the change which the event tells of. */
export type Transaction =
  | PgTransaction
  | DrizzleTransaction
  | PostgresJsTransaction
  | KyselyTransaction
  | PrismaTransaction
  | KnexTransaction
  | TypeOrmTransaction
  | TypeOrmQueryRunner
  | MikroOrmTransaction
  | QueryTransaction;

const CLIENTS: readonly Open[] = [
  openPg,
  // has all that drizzle's has
  openMikroOrm,
  openDrizzle,
  openPostgresJs,
  openKysely,
  openPrisma,
  openKnex,
  openTypeOrm,
  openQuery,
];

/**
 * Makes sure that a transaction is open, as far as the client can tell, and gives the way to send a statement in it.
 *
 * @throws OutboxError OUTBOX_NO_TRANSACTION when it is a pool, a database handle or something unknown, or when the
 *   transaction has not begun, has failed or has ended. Where the client tells that only when it is asked to send, the
 *   promise of `Send` rejects with it.
 */
export function open(tx: Transaction): Send {
  for (const openClient of CLIENTS) {
    const send = openClient(tx);
    if (send !== undefined) return send;
  }
  throw refused(kindOf(tx));
}
