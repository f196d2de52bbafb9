import { OutboxError } from '../../errors.ts';
import { Hidden } from '../hidden.ts';
import type { Statement } from '../statement.ts';

/** Sends one statement within the transaction; what it answers is not read. */
export type Send = (statement: Statement) => PromiseLike<unknown>;

/**
 * Knows the transactions of one client by their shape, without importing it: undefined for what is of another client, an
 * OutboxError OUTBOX_NO_TRANSACTION for what is of this one and no open transaction.
 */
export type Open = (tx: unknown) => Send | undefined;

/** @param given what was given, by its class or kind alone, and what to pass instead where that is clear */
export function refused(given: string): OutboxError {
  return noTransaction(`An open transaction is needed, but this was given: ${given}.`);
}

/** Of a transaction that has not begun or is over, of any client. */
export function notOpen(): OutboxError {
  return noTransaction(
    'The client is not in a transaction: BEGIN is missing or was not awaited, or the transaction has ended.',
  );
}

export function noTransaction(detail: string): OutboxError {
  return new OutboxError('OUTBOX_NO_TRANSACTION', { detail: `${detail} No SQL was sent.` });
}

/** The parameters as any driver takes them, for clients beneath which no `toPostgres` can be counted on. */
export function plain({ values }: Statement): (string | null)[] {
  return values.map((value) => (value instanceof Hidden ? value.toPostgres() : value));
}

/** Also of a function, and of what is inherited or answered by a proxy. */
export function hasMethods<Name extends string>(
  value: unknown,
  ...names: Name[]
): value is Record<Name, (...args: never) => unknown> {
  if ((typeof value !== 'object' && typeof value !== 'function') || value === null) return false;
  return names.every((name) => typeof Reflect.get(value, name) === 'function');
}
