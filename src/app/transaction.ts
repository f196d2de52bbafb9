import { kindOf } from './problems.ts';
import { type Open, refused, type Send } from './transactions/client.ts';
import { type DrizzleDatabase, type DrizzleTransaction, openDrizzle } from './transactions/drizzle.ts';
import { type KnexItself, type KnexTransaction, openKnex } from './transactions/knex.ts';
import { type KyselyDatabase, type KyselyTransaction, openKysely } from './transactions/kysely.ts';
import { type MikroOrmItself, type MikroOrmTransaction, openMikroOrm } from './transactions/mikro-orm.ts';
import { openPg, type PgPool, type PgTransaction } from './transactions/pg.ts';
import { openPostgresJs, type PostgresJsSql, type PostgresJsTransaction } from './transactions/postgres-js.ts';
import { openPrisma, type PrismaClientItself, type PrismaTransaction } from './transactions/prisma.ts';
import { openPromise, type PromiseItself } from './transactions/promise.ts';
import { openQuery, type QueryTransaction } from './transactions/query.ts';
import {
  openTypeOrm,
  type TypeOrmDataSource,
  type TypeOrmQueryRunner,
  type TypeOrmTransaction,
} from './transactions/typeorm.ts';

/** The transaction in which an event is emitted: the one that makes the change. */
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
  | QueryTransaction
  | NoTransaction;

/** What is often passed instead. No value is of these types: they only make TypeScript say what to pass (`Refusal`). */
type NoTransaction =
  | PgPool
  | DrizzleDatabase
  | PostgresJsSql
  | KyselyDatabase
  | PrismaClientItself
  | KnexItself
  | TypeOrmDataSource
  | MikroOrmItself
  | PromiseItself;

const CLIENTS: readonly Open[] = [
  openPg,
  // Before drizzle, because an `em` of MikroORM has all methods of drizzle's `tx`.
  openMikroOrm,
  openDrizzle,
  openPostgresJs,
  openKysely,
  openPrisma,
  openKnex,
  openTypeOrm,
  openQuery,
  openPromise,
];

/**
 * Makes sure that a transaction is open, as far as the client can tell, and gives the function that sends a statement in it.
 *
 * @throws OutboxError OUTBOX_NO_TRANSACTION when it is a pool, a database handle or something unknown, or when the
 *   transaction has not begun, has failed or has ended. Some clients find that out only when they send: then the promise of
 *   `Send` rejects with this error.
 */
export function open(tx: Transaction): Send {
  for (const openClient of CLIENTS) {
    const send = openClient(tx);
    if (send !== undefined) return send;
  }
  throw refused(kindOf(tx));
}
