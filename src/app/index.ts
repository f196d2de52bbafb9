/** The whole public surface of the library. */
export {
  type AnyEventDefinition,
  type DefinedEvent,
  defineEvent,
  type EventContext,
  type EventDefinition,
  type EventOptions,
} from './define.ts';
export { emitEvent, emitEvents } from './emit.ts';
export type { AnyEvent, OutboxEvent } from './events.ts';
export { createOutbox, type Outbox, type OutboxOptions } from './outbox.ts';
export type { StandardSchema } from './standard-schema.ts';
export type { Transaction } from './transaction.ts';
export type { DrizzleTransaction } from './transactions/drizzle.ts';
export type { KnexTransaction } from './transactions/knex.ts';
export type { KyselyTransaction } from './transactions/kysely.ts';
export type { MikroOrmTransaction } from './transactions/mikro-orm.ts';
export type { PgTransaction } from './transactions/pg.ts';
export type { PostgresJsTransaction } from './transactions/postgres-js.ts';
export type { PrismaTransaction } from './transactions/prisma.ts';
export type { QueryTransaction } from './transactions/query.ts';
export type { TypeOrmQueryRunner, TypeOrmTransaction } from './transactions/typeorm.ts';
export { type ErrorCode, type ErrorDetails, ERRORS, OutboxError } from '../errors.ts';
