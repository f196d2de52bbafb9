import { OutboxError, type ErrorCode } from '../../errors.ts';
import { DEFAULT_SCHEMA } from '../../schema-name.ts';
import { isTellable, shortened, type ServerError } from '../../server-message.ts';
import type { Host } from './hosts.ts';
import { poolerOf } from './pooler.ts';

const SQLSTATE_LENGTH = 5;
const BY_SQLSTATE: Readonly<Record<string, ErrorCode>> = {
  '28P01': 'OUTBOX_PG_AUTH',
  '28000': 'OUTBOX_PG_AUTH',
  '3D000': 'OUTBOX_PG_AUTH',
  '42501': 'OUTBOX_PG_PRIVILEGE',
  '3F000': 'OUTBOX_PG_NOT_MIGRATED',
  '42P01': 'OUTBOX_PG_NOT_MIGRATED',
  '42703': 'OUTBOX_PG_NOT_MIGRATED',
  '55006': 'OUTBOX_SLOT_BUSY',
  // the server starts up, shuts down, or has no connection to spare
  '57P01': 'OUTBOX_PG_UNREACHABLE',
  '57P02': 'OUTBOX_PG_UNREACHABLE',
  '57P03': 'OUTBOX_PG_UNREACHABLE',
  '53300': 'OUTBOX_PG_UNREACHABLE',
};

/**
 * What an error of the driver means. The server's message is repeated where it cannot quote values.
 *
 * @param overEvents whether the statement reads or writes rows of events
 * @param schema of the outbox
 */
export function postgresError(error: unknown, overEvents = false, schema = DEFAULT_SCHEMA): OutboxError {
  if (error instanceof OutboxError) return error;
  if (error instanceof TypeError || error instanceof ReferenceError) throw error;
  const { code, message, severity } = error as { code?: unknown; message?: unknown; severity?: unknown };
  // the driver's own: a password is asked for and none, or a wrong kind, is given
  if (String(message).startsWith('SASL'))
    return new OutboxError('OUTBOX_PG_AUTH', { detail: shortened(String(message)) });
  if (severity === undefined || typeof code !== 'string') {
    return unreachable(`no connection to Postgres: ${shortened(String(typeof code === 'string' ? code : message))}`);
  }
  return sqlStateError(code, String(message), error as ServerError, overEvents ? schema : undefined);
}

/** An error with this SQLSTATE, where Postgres itself would give none, comes from a pooler that stands before it. */
export function pooled(error: OutboxError, sqlState: string): OutboxError {
  if (error.sqlState !== sqlState) return error;
  return new OutboxError('OUTBOX_PG_POOLER', { detail: error.message, sqlState });
}

/** What was refused before the session began. PgBouncer refuses the settings of a session; a proxy before it may repeat its words alone. */
export function loginError(host: Host, error: unknown): OutboxError {
  const failure = postgresError(error);
  const isPooler = failure.sqlState === '08P01' || String(error).includes('unsupported startup parameter');
  if (!isPooler) return failure;
  const named = poolerOf(host);
  const detail = named === undefined ? failure.message : `${failure.message}; the host is ${named}`;
  return new OutboxError('OUTBOX_PG_POOLER', { detail, sqlState: failure.sqlState });
}

/**
 * @param error as the server sent it; without it, the walsender's, which runs nobody's code
 * @param eventsOf the schema of the events that the statement reads or writes, if it does
 */
export function sqlStateError(
  code: string,
  message: string,
  error: ServerError = { severity: 'FATAL' },
  eventsOf?: string,
): OutboxError {
  const sqlState = code.slice(0, SQLSTATE_LENGTH);
  const kind = BY_SQLSTATE[sqlState] ?? 'OUTBOX_PG_FAILED';
  const said = isTellable(sqlState, error, eventsOf) ? `: ${shortened(message)}` : '';
  return new OutboxError(kind, { detail: `Postgres answered ${sqlState}${said}`, sqlState });
}

export function unreachable(detail: string, cause?: unknown): OutboxError {
  return new OutboxError('OUTBOX_PG_UNREACHABLE', { detail, cause });
}
