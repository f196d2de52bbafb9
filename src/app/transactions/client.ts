import { OutboxError } from '../../errors.ts';
import { Hidden } from '../hidden.ts';
import type { Statement } from '../statement.ts';

/** Sends one INSERT within the transaction. Gives how many rows Postgres says it has stored, or undefined where the client does not say. */
export type Send = (statement: Statement) => PromiseLike<number | undefined>;

/** The number of rows in a client's result, in the field that the client has it in; undefined where it has none. */
export function countOf(result: unknown, field: 'rowCount' | 'count' | 'numAffectedRows'): number | undefined {
  const count: unknown = typeof result === 'object' && result !== null ? Reflect.get(result, field) : undefined;
  return typeof count === 'number' || typeof count === 'bigint' ? Number(count) : undefined;
}

/**
 * Recognises the transactions of one client by their shape, without importing it.
 *
 * @returns undefined when the value is of another client
 * @throws OutboxError OUTBOX_NO_TRANSACTION when it is of this client, but is no open transaction
 */
export type Open = (tx: unknown) => Send | undefined;

/** @param given the class or kind of the value, never its contents, and what to pass instead when that is clear */
export function refused(given: string): OutboxError {
  return noTransaction(`An open transaction is needed, but this was given: ${given}.`);
}

/** For a transaction of any client that has not begun, or has ended. */
export function notOpen(): OutboxError {
  return noTransaction(
    'The client is not in a transaction: BEGIN is missing or was not awaited, or the transaction has ended.',
  );
}

export function noTransaction(detail: string): OutboxError {
  return new OutboxError('OUTBOX_NO_TRANSACTION', { detail: `${detail} No SQL was sent.` });
}

/**
 * What TypeScript says when a value that is no transaction is passed. It compares the value with the member of `Transaction` that
 * has most in common with it, and tells which property is missing: so each kind of such values has a member that looks like
 * it, and lacks the sentence which says what to pass. No value has that property.
 */
export type Refusal<Sentence extends string> = Readonly<Record<Sentence, never>>;

export type Method = (...args: never) => unknown;

/** The parameters as any driver takes them, for clients whose driver may not call `toPostgres`. */
export function plain({ values }: Statement): (string | null)[] {
  return values.map((value) => (value instanceof Hidden ? value.toPostgres() : value));
}

/** Whether an object or function has these methods, be they its own, inherited or given by a proxy. */
export function hasMethods<Name extends string>(value: unknown, ...names: Name[]): value is Record<Name, Method> {
  if ((typeof value !== 'object' && typeof value !== 'function') || value === null) return false;
  return names.every((name) => typeof Reflect.get(value, name) === 'function');
}
