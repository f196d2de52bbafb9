import { isNativeError } from 'node:util/types';
import { ERRORS, OutboxError } from '../errors.ts';
import { DEFAULT_SCHEMA, toldOf } from '../schema-name.ts';
import { nextStep } from './emit-next.ts';
import { isOfTheServer, isTellable, shortened } from '../server-message.ts';

/** The fields of whatever a driver threw. Any of them may be missing or of another type. */
type Fields = Readonly<Record<string, unknown>>;

/** What an error may say: facts about statement, session and schema, none about values. */
interface Facts {
  readonly sqlState: string | undefined;
  readonly message: string | undefined;
  /** The fields of the cause: those of the server's error, or the code of a socket's error. */
  readonly fields: Readonly<Record<string, string>>;
}

const WITHHELD = 'message withheld: it may quote values';

/**
 * Wraps whatever a driver threw, so that the error cannot reveal an event: drizzle's message holds all parameters, and
 * Postgres' `detail`, `where` and some messages quote rows. The cause is a new error with a new stack. It holds only what is
 * known to be harmless.
 *
 * @param schema of the outbox
 */
export function emitFailed(thrown: unknown, schema = DEFAULT_SCHEMA): OutboxError {
  // Some clients find out only when they send that there is no transaction.
  if (thrown instanceof OutboxError) return thrown;
  const { sqlState, message, fields } = factsOf(innermost(thrown), schema);
  const cause = Object.assign(new Error(message ?? WITHHELD), fields);
  const known = [sqlState === undefined ? undefined : `SQLSTATE ${sqlState}`, message].filter(
    (part) => part !== undefined,
  );
  const detail =
    sqlState === undefined
      ? `The INSERT into ${schema}.event was not answered: ${message ?? 'the driver failed'}. Roll the transaction back.`
      : `${toldOf(schema, ERRORS.OUTBOX_EMIT_FAILED.happened)} ${known.join(': ')}`;
  return new OutboxError('OUTBOX_EMIT_FAILED', { detail, next: toldOf(schema, nextStep(sqlState)), sqlState, cause });
}

/** Postgres answered that it has stored fewer rows than the INSERT had. The transaction could still be committed, without them. */
export function emitDropped(events: number, schema: string): OutboxError {
  return new OutboxError('OUTBOX_EMIT_FAILED', {
    detail: `Postgres took the INSERT into ${schema}.event and did not store ${events === 1 ? 'an event' : `${events} events`}: a trigger or a rule dropped ${events === 1 ? 'it' : 'them'}. Roll the transaction back.`,
    next: `Look at the triggers and rules of ${schema}.event: \`pg-outbox-clickhouse doctor\` names those that can drop an event.`,
  });
}

/** Removes what may quote values from a driver's own error. The driver keeps this error, and may throw it to the caller. */
export function scrub(thrown: unknown): void {
  if (!isNativeError(thrown)) return;
  const { sqlState, message = WITHHELD } = factsOf(fieldsOf(thrown), DEFAULT_SCHEMA);
  for (const name of ['parameters', 'args']) {
    const values: unknown = Reflect.get(thrown, name);
    if (Array.isArray(values)) values.length = 0;
  }
  // Other queries may share an error of the connection, and it holds no value of any.
  if (sqlState === undefined) return;
  for (const name of Object.getOwnPropertyNames(thrown)) if (!KEPT.has(name)) Reflect.deleteProperty(thrown, name);
  Object.defineProperty(thrown, 'message', { value: message, configurable: true, writable: true });
  Object.defineProperty(thrown, 'stack', { value: `${thrown.name}: ${message}`, configurable: true, writable: true });
}

/** The fields that `scrub` keeps: none of them quotes a value. */
const KEPT: ReadonlySet<string> = new Set([
  'name',
  'code',
  'errno',
  'severity',
  'severity_local',
  'routine',
  'file',
  'line',
]);

/** The server's error, or else the last error of the chain: wrappers such as drizzle's quote what they wrap. */
function innermost(thrown: unknown): Fields | undefined {
  let found: Fields | undefined;
  let next = thrown;
  // The loop has a limit, because a chain of causes may be a ring.
  for (let depth = 0; depth < 16; depth += 1) {
    // instanceof fails under jest, which has a realm of its own. Prisma's adapters end the chain with a plain object.
    if (!isNativeError(next) && !isAdapterCause(next)) break;
    found = fieldsOf(next);
    if (sqlStateOf(found) !== undefined) break;
    next = (found['meta'] as Fields | undefined)?.['driverAdapterError'] ?? found['cause'];
  }
  return found;
}

function isAdapterCause(value: unknown): value is object {
  return typeof value === 'object' && value !== null && 'originalCode' in value;
}

function fieldsOf(error: object): Fields {
  return error as Fields;
}

/**
 * `EPIPE` has the form of a SQLSTATE, but no digit. Prisma's `P2010` has a digit, but comes with a `clientVersion`. Only the
 * server's errors have a severity.
 */
function sqlStateOf(error: Fields): string | undefined {
  if ('clientVersion' in error) return undefined;
  const code = error['originalCode'] ?? error['code'];
  if (typeof code !== 'string' || !/^[0-9A-Z]{5}$/.test(code)) return undefined;
  return typeof error['severity'] === 'string' || /\d/.test(code) ? code : undefined;
}

function factsOf(error: Fields | undefined, schema: string): Facts {
  if (error === undefined) return { sqlState: undefined, message: undefined, fields: {} };
  const sqlState = sqlStateOf(error);
  const fields: Record<string, string> = {};
  const tell = (name: string, value: unknown): void => {
    if (typeof value === 'string') fields[name] = value;
  };
  tell('code', sqlState ?? codeOf(error));
  if (isOfTheServer(error)) {
    tell('constraint', error['constraint'] ?? error['constraint_name']);
    tell('table', error['table'] ?? error['table_name']);
    tell('routine', error['routine']);
  }
  return { sqlState, message: tellable(error, sqlState, schema), fields };
}

function tellable(error: Fields, sqlState: string | undefined, schema: string): string | undefined {
  const { message } = error;
  if (sqlState === undefined) return ofTheConnection(error);
  if (typeof message !== 'string' || quotesStatement(error, message)) return undefined;
  return isTellable(sqlState, error, schema) ? shortened(message) : undefined;
}

/** node-postgres' own messages of a connection that failed: all constants. */
const CONNECTION_MESSAGES: ReadonlySet<unknown> = new Set([
  'Connection terminated',
  'Connection terminated unexpectedly',
  'Connection terminated due to connection timeout',
  'Client has encountered a connection error and is not queryable',
  'Client was closed and is not queryable',
  'Query read timeout',
  'timeout expired',
  'timeout exceeded when trying to connect',
]);

/**
 * The harmless part of an error without a SQLSTATE. Such an error may come from anywhere, for example from the caller's own
 * `query` function, and may quote the parameters. This gives call and code of a socket's error (`write EPIPE`), and the code
 * of an error of postgres.js (`CONNECTION_CLOSED`).
 */
function ofTheConnection(error: Fields): string | undefined {
  const { message, syscall, errno } = error;
  if (CONNECTION_MESSAGES.has(message)) return String(message);
  const code = codeOf(error);
  if (code === undefined || (typeof errno !== 'number' && errno !== code)) return undefined;
  return typeof syscall === 'string' && /^[a-z_]{1,32}$/.test(syscall) ? `${syscall} ${code}` : code;
}

/** A code in capitals, as Node, postgres.js and Prisma write them: `ECONNRESET`, `CONNECTION_CLOSED`, `P1017`. */
function codeOf({ code }: Fields): string | undefined {
  return typeof code === 'string' && /^[A-Z][A-Z0-9_]{1,63}$/.test(code) ? code : undefined;
}

/** An error with a field for the statement, its parameters or Prisma's call repeats them in its message. */
function quotesStatement(error: Fields, message: string): boolean {
  if (/INSERT INTO [a-z0-9_]+\.event/.test(message) || 'clientVersion' in error) return true;
  // Only postgres.js has such fields and keeps the server's own message.
  if (error['name'] === 'PostgresError') return false;
  return 'query' in error || 'params' in error || 'parameters' in error;
}
