import { hasMethods, type Method, type Refusal, refused } from './client.ts';

const A_PROMISE = 'a promise: await it first';
export interface PromiseItself extends Refusal<typeof A_PROMISE> {
  readonly then: Method;
  readonly catch: Method;
  readonly finally: Method;
}

/** Of `pool.connect()`, or of a transaction that was not awaited. Last of all, because a transaction may have these methods. */
export function openPromise(tx: unknown): undefined {
  if (hasMethods(tx, 'then', 'catch', 'finally')) throw refused(A_PROMISE);
}
