import type { EntityManager as MikroEntityManager, MikroORM } from '@mikro-orm/postgresql';
import type { NodePgDatabase, NodePgTransaction } from 'drizzle-orm/node-postgres';
import type { PostgresJsDatabase, PostgresJsTransaction as DrizzlePostgresJs } from 'drizzle-orm/postgres-js';
import type { Knex } from 'knex';
import type { ControlledTransaction, Kysely, Transaction as KyselyTrx } from 'kysely';
import type { Client, ClientBase, Pool, PoolClient } from 'pg';
import type postgres from 'postgres';
import type { DataSource, EntityManager, QueryRunner } from 'typeorm';
import { expect, expectTypeOf, test } from 'vitest';
import {
  type DrizzleTransaction,
  emitEvent,
  type KnexTransaction,
  type KyselyTransaction,
  type MikroOrmTransaction,
  type PgTransaction,
  type PostgresJsTransaction,
  type PrismaTransaction,
  type QueryTransaction,
  type Transaction,
  type TypeOrmQueryRunner,
  type TypeOrmTransaction,
} from '../../src/app/index.ts';
import type { Prisma, PrismaClient } from './generated/client.ts';
import type { Database } from './subjects/kysely.ts';

const EVENT = { type: 'order.placed', context: {} };

/** Never called: tsc checks it, and fails when a client is rejected, or when one of the expected errors is missing. */
const calls = {
  pg: (client: Client, pooled: PoolClient, base: ClientBase, pool: Pool) => [
    emitEvent(client, EVENT),
    emitEvent(pooled, EVENT),
    emitEvent(base, EVENT),
    // @ts-expect-error -- a pool
    emitEvent(pool, EVENT),
  ],
  drizzle: (db: NodePgDatabase, js: PostgresJsDatabase) => [
    db.transaction(async (tx) => {
      await emitEvent(tx, EVENT);
      await tx.transaction((nested) => emitEvent(nested, EVENT));
    }),
    js.transaction((tx) => emitEvent(tx, EVENT)),
    // @ts-expect-error -- a database over node-postgres
    emitEvent(db, EVENT),
    // @ts-expect-error -- a database over postgres.js
    emitEvent(js, EVENT),
  ],
  postgresJs: (sql: postgres.Sql, typed: postgres.TransactionSql<{ day: Date }>, reserved: postgres.ReservedSql) => [
    sql.begin(async (tx) => {
      await emitEvent(tx, EVENT);
      await tx.savepoint((nested) => emitEvent(nested, EVENT));
    }),
    emitEvent(typed, EVENT),
    // @ts-expect-error -- the sql for queries outside a transaction
    emitEvent(sql, EVENT),
    // @ts-expect-error -- a reserved connection
    emitEvent(reserved, EVENT),
  ],
  kysely: (db: Kysely<Database>, controlled: ControlledTransaction<Database>) => [
    db.transaction().execute((trx) => emitEvent(trx, EVENT)),
    emitEvent(controlled, EVENT),
    // @ts-expect-error -- a database
    emitEvent(db, EVENT),
  ],
  prisma: (prisma: PrismaClient) => [
    prisma.$transaction(async (tx) => {
      await emitEvent(tx, EVENT);
      await tx.$transaction((nested) => emitEvent(nested, EVENT));
    }),
    // @ts-expect-error -- the client
    emitEvent(prisma, EVENT),
  ],
  knex: (knex: Knex) => [
    knex.transaction(async (trx) => {
      await emitEvent(trx, EVENT);
      await trx.transaction((nested) => emitEvent(nested, EVENT));
    }),
    // @ts-expect-error -- knex
    emitEvent(knex, EVENT),
  ],
  typeorm: (dataSource: DataSource, runner: QueryRunner) => [
    dataSource.transaction((manager) => emitEvent(manager, EVENT)),
    emitEvent(runner, EVENT),
    // @ts-expect-error -- a data source
    emitEvent(dataSource, EVENT),
  ],
  mikroOrm: (orm: MikroORM) => [
    orm.em.transactional((em) => emitEvent(em, EVENT)),
    // @ts-expect-error -- the ORM itself
    emitEvent(orm, EVENT),
  ],
  query: (query: (sql: string, params: (string | null)[]) => Promise<unknown>, pool: Pool) => [
    emitEvent({ transaction: true, query }, EVENT),
    emitEvent({ transaction: true, query: (sql, params) => query(sql, [...params]) }, EVENT),
    // @ts-expect-error -- no `transaction: true`: it may be a module around a pool
    emitEvent({ query }, EVENT),
    // @ts-expect-error -- a module around a pool
    emitEvent({ query, getClient: () => pool.connect() }, EVENT),
    // @ts-expect-error -- `transaction` is a function, not `true`
    emitEvent({ query, transaction: () => pool.connect() }, EVENT),
    // @ts-expect-error -- nothing
    emitEvent(undefined, EVENT),
    // @ts-expect-error -- an address
    emitEvent('postgres://localhost/app', EVENT),
  ],
};

test('the transaction of each client has its type, and a pool, a data source or any object has none', () => {
  expectTypeOf<PoolClient>().toExtend<PgTransaction>();
  expectTypeOf<NodePgTransaction<Record<string, unknown>, Record<string, never>>>().toExtend<DrizzleTransaction>();
  expectTypeOf<DrizzlePostgresJs<Record<string, unknown>, Record<string, never>>>().toExtend<DrizzleTransaction>();
  expectTypeOf<postgres.TransactionSql>().toExtend<PostgresJsTransaction>();
  expectTypeOf<KyselyTrx<Database>>().toExtend<KyselyTransaction>();
  expectTypeOf<Prisma.TransactionClient>().toExtend<PrismaTransaction>();
  expectTypeOf<Knex.Transaction>().toExtend<KnexTransaction>();
  expectTypeOf<EntityManager>().toExtend<TypeOrmTransaction>();
  expectTypeOf<QueryRunner>().toExtend<TypeOrmQueryRunner>();
  expectTypeOf<MikroEntityManager>().toExtend<MikroOrmTransaction>();
  expectTypeOf<Pool>().not.toExtend<QueryTransaction>();
  expectTypeOf<DataSource>().not.toExtend<QueryTransaction>();
  expectTypeOf<object>().not.toExtend<Transaction>();
  expect(Object.keys(calls)).toHaveLength(9);
});
