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
export type {
  DrizzleTransaction,
  KnexTransaction,
  KyselyTransaction,
  MikroOrmTransaction,
  PgTransaction,
  PostgresJsTransaction,
  PrismaTransaction,
  QueryTransaction,
  Transaction,
  TypeOrmQueryRunner,
  TypeOrmTransaction,
} from './transaction.ts';
export { type ErrorCode, type ErrorDetails, ERRORS, OutboxError } from '../errors.ts';
