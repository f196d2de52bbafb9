import { isNativeError } from 'node:util/types';
import { ERRORS, OutboxError } from '../errors.ts';

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

/** What is looked at of whatever a driver threw; none of it can be relied on. */
type Fields = Readonly<Record<string, unknown>>;

/** What may be told of an error: facts about statement, session and schema, none about values. */
interface Facts {
  readonly sqlState: string | undefined;
  readonly message: string | undefined;
  /** For the fields of the cause; of the server's, or the code of a socket's error. */
  readonly fields: Readonly<Record<string, string>>;
}

const WITHHELD = 'message withheld: it may quote values';

/**
 * Wraps whatever a driver threw, so that nothing of an event can leave through it: drizzle's message holds all parameters,
 * and Postgres' `detail`, `where` and some messages quote rows. The cause is a new error, with a new stack, of what is
 * known to be harmless.
 */
export function emitFailed(thrown: unknown): OutboxError {
  // a client that tells only when it is asked to send that there is no transaction
  if (thrown instanceof OutboxError) return thrown;
  const { sqlState, message, fields } = factsOf(innermost(thrown));
  const cause = Object.assign(new Error(message ?? WITHHELD), fields);
  const known = [sqlState === undefined ? undefined : `SQLSTATE ${sqlState}`, message].filter(
    (part) => part !== undefined,
  );
  const detail =
    sqlState === undefined
      ? `The INSERT into outbox.event was not answered: ${message ?? 'the driver failed'}. Roll the transaction back.`
      : `${ERRORS.OUTBOX_EMIT_FAILED.happened} ${known.join(': ')}`;
  return new OutboxError('OUTBOX_EMIT_FAILED', { detail, sqlState, cause });
}

/** Takes what may quote values out of an error that its driver keeps, and may throw to the caller by itself. */
export function scrub(thrown: unknown): void {
  if (!isNativeError(thrown)) return;
  const { sqlState, message = WITHHELD } = factsOf(fieldsOf(thrown));
  for (const name of ['parameters', 'args']) {
    const values: unknown = Reflect.get(thrown, name);
    if (Array.isArray(values)) values.length = 0;
  }
  // an error of the connection may be that of other queries too, and tells nothing of them
  if (sqlState === undefined) return;
  for (const name of Object.getOwnPropertyNames(thrown)) if (!KEPT.has(name)) Reflect.deleteProperty(thrown, name);
  Object.defineProperty(thrown, 'message', { value: message, configurable: true, writable: true });
  Object.defineProperty(thrown, 'stack', { value: `${thrown.name}: ${message}`, configurable: true, writable: true });
}

/** Of an error that is scrubbed: none of these quotes a value. */
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

/** The server's error, or failing that the last of the chain: wrappers such as drizzle's quote what they wrap. */
function innermost(thrown: unknown): Fields | undefined {
  let found: Fields | undefined;
  let next = thrown;
  // A bound, because a chain of causes may be a ring.
  for (let depth = 0; depth < 16; depth += 1) {
    // Not instanceof, because jest's realm is not that of node's errors. Prisma's adapters end the chain with a plain object.
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

/** `EPIPE` has the form of a SQLSTATE, but no digit; `P2010` of Prisma has one; only the server's errors have a severity. */
function sqlStateOf(error: Fields): string | undefined {
  if ('clientVersion' in error) return undefined;
  const code = error['originalCode'] ?? error['code'];
  if (typeof code !== 'string' || !/^[0-9A-Z]{5}$/.test(code)) return undefined;
  return typeof error['severity'] === 'string' || /\d/.test(code) ? code : undefined;
}

function factsOf(error: Fields | undefined): Facts {
  if (error === undefined) return { sqlState: undefined, message: undefined, fields: {} };
  const sqlState = sqlStateOf(error);
  const fields: Record<string, string> = {};
  const tell = (name: string, value: unknown): void => {
    if (typeof value === 'string') fields[name] = value;
  };
  tell('code', sqlState ?? codeOf(error));
  if (ofTheServer(error)) {
    tell('constraint', error['constraint'] ?? error['constraint_name']);
    tell('table', error['table'] ?? error['table_name']);
    tell('routine', error['routine']);
  }
  return { sqlState, message: tellable(error, sqlState), fields };
}

/** Not raised by a trigger, which may do so with any SQLSTATE, any text and any names. */
function ofTheServer({ routine, severity }: Fields): boolean {
  return typeof routine === 'string' ? routine !== 'exec_stmt_raise' : severity === 'FATAL';
}

function tellable(error: Fields, sqlState: string | undefined): string | undefined {
  const { message } = error;
  if (sqlState === undefined) return ofTheConnection(error);
  if (typeof message !== 'string' || quotesStatement(error, message)) return undefined;
  return MESSAGE_CLASSES.has(sqlState.slice(0, 2)) && ofTheServer(error) ? message : undefined;
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
 * Without a SQLSTATE an error may come from anywhere, such as from the `query` of a contract, and quote the parameters. Of a
 * socket's error call and code are told (`write EPIPE`), of postgres.js' the code (`CONNECTION_CLOSED`).
 */
function ofTheConnection(error: Fields): string | undefined {
  const { message, syscall, errno } = error;
  if (CONNECTION_MESSAGES.has(message)) return String(message);
  const code = codeOf(error);
  if (code === undefined || (typeof errno !== 'number' && errno !== code)) return undefined;
  return typeof syscall === 'string' && /^[a-z_]{1,32}$/.test(syscall) ? `${syscall} ${code}` : code;
}

/** Words in capitals alone, as Node, postgres.js and Prisma have them: `ECONNRESET`, `CONNECTION_CLOSED`, `P1017`. */
function codeOf({ code }: Fields): string | undefined {
  return typeof code === 'string' && /^[A-Z][A-Z0-9_]{1,63}$/.test(code) ? code : undefined;
}

/** An error that carries the statement, its parameters or Prisma's call has put them into its message as well. */
function quotesStatement(error: Fields, message: string): boolean {
  if (message.includes('INSERT INTO outbox.event') || 'clientVersion' in error) return true;
  // but the message of postgres.js' is the server's own
  if (error['name'] === 'PostgresError') return false;
  return 'query' in error || 'params' in error || 'parameters' in error;
}
