import { isNativeError } from 'node:util/types';
import { ERRORS, OutboxError } from '../errors.ts';

/** What may be told of a server's error: facts about statement and schema, none about values. */
const TOLD = ['code', 'constraint', 'table', 'routine'] as const;

/**
 * SQLSTATE classes whose messages are written by the server about the statement, the session or the schema: connection,
 * transaction state, authorisation, catalog, rollback, access rule, resources, limits, state, operator, system, internal.
 * Missing are 22 and 23, whose messages quote values, P0 (RAISE), and whatever is not known.
 */
const MESSAGE_CLASSES: ReadonlySet<string> = new Set([
  '08',
  '0A',
  '25',
  '26',
  '28',
  '2D',
  '34',
  '3B',
  '3D',
  '3F',
  '40',
  '42',
  '53',
  '54',
  '55',
  '57',
  '58',
  'F0',
  'XX',
]);

interface DriverError extends Error {
  readonly code?: unknown;
  readonly severity?: unknown;
  readonly constraint?: unknown;
  readonly table?: unknown;
  readonly routine?: unknown;
}

/**
 * Wraps whatever a driver threw, so that nothing of an event can leave through it: drizzle's message holds all parameters,
 * and Postgres' `detail`, `where` and some messages quote rows. The cause is a new error, with a new stack, of what is
 * known to be harmless.
 */
export function emitFailed(thrown: unknown): OutboxError {
  const error = innermost(thrown);
  const sqlState = sqlStateOf(error);
  const message = tellable(error, sqlState);
  const cause = new Error(message ?? 'message withheld: it may quote values');
  for (const field of TOLD) {
    const value = error?.[field];
    if (typeof value === 'string') Object.assign(cause, { [field]: value });
  }
  const known = [sqlState === undefined ? undefined : `SQLSTATE ${sqlState}`, message].filter(
    (part) => part !== undefined,
  );
  const detail =
    sqlState === undefined
      ? `The INSERT into outbox.event was not answered: ${message ?? 'the driver failed'}. Roll the transaction back.`
      : `${ERRORS.OUTBOX_EMIT_FAILED.happened} ${known.join(': ')}`;
  return new OutboxError('OUTBOX_EMIT_FAILED', { detail, sqlState, cause });
}

/** The server's error, or failing that the last of the chain: wrappers such as drizzle's quote what they wrap. */
function innermost(thrown: unknown): DriverError | undefined {
  let found: DriverError | undefined;
  let next = thrown;
  // A bound, because a chain of causes may be a ring; not instanceof, because jest's realm is not that of node's errors.
  for (let depth = 0; depth < 16 && isNativeError(next); depth += 1) {
    found = next;
    if (sqlStateOf(found) !== undefined) return found;
    next = next.cause;
  }
  return found;
}

/** `EPIPE` has the form of a SQLSTATE, but no digit; only the server's errors have a severity. */
function sqlStateOf(error: DriverError | undefined): string | undefined {
  if (typeof error?.code !== 'string' || !/^[0-9A-Z]{5}$/.test(error.code)) return undefined;
  return typeof error.severity === 'string' || /\d/.test(error.code) ? error.code : undefined;
}

function tellable(error: DriverError | undefined, sqlState: string | undefined): string | undefined {
  if (error === undefined) return undefined;
  // An error that carries the query or its parameters has put them into its message as well.
  if ('query' in error || 'params' in error || 'parameters' in error) return undefined;
  if (sqlState === undefined) return error.message;
  // A trigger may RAISE with any SQLSTATE and any text.
  if (error.routine === 'exec_stmt_raise') return undefined;
  return MESSAGE_CLASSES.has(sqlState.slice(0, 2)) ? error.message : undefined;
}
