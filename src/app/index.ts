/** The whole public surface of the library. */
export { emitEvent, emitEvents } from './emit.ts';
export type { EventContext, OutboxEvent } from './events.ts';
export type { DrizzleTransaction, PgTransaction, Transaction } from './transaction.ts';
export { type ErrorCode, type ErrorDetails, ERRORS, OutboxError } from '../errors.ts';
