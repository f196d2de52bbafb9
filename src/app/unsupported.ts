/*
 * What bundlers for browsers and edge runtimes find under the name of this package: the exports of index.ts, none of which
 * can be had there. Loading it throws, so that nobody meets a missing module of Node deep inside instead.
 */
import { OutboxError } from '../errors.ts';

function refuse(): never {
  throw new OutboxError('OUTBOX_RUNTIME_UNSUPPORTED');
}

export const createOutbox = refuse();
export const defineEvent = refuse();
export const emitEvent = refuse();
export const emitEvents = refuse();
export const ERRORS = refuse();
export { OutboxError };
