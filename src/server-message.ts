/*
 * Which messages of Postgres may be repeated in logs and errors: for the library and the streamer alike.
 */

/**
 * SQLSTATE classes whose messages quote no value even when a statement runs over rows of events: connection, transaction state,
 * authorisation, rollback, resources, operator.
 */
const SESSION_CLASSES = ['08', '25', '26', '28', '2D', '34', '3B', '40', '53', '57', 'F0'] as const;

/**
 * Those, and the classes whose messages the server writes about the statement or the schema: catalog, access rule, limits, state, system,
 * internal. Over rows of events these quote values, too: a cast to a name (regconfig, regclass) in a constraint, a word that is too long
 * for an index, a function in C. Classes 22 and 23 are missing, because their messages quote values. So are P0 (RAISE) and every unknown
 * class.
 */
const MESSAGE_CLASSES: readonly string[] = [...SESSION_CLASSES, '0A', '3D', '3F', '42', '54', '55', '58', 'XX'];
const LOCK_NOT_AVAILABLE = '55P03';

/** What checks rights. Its messages name an object, which may be one that a value names. */
const CHECKS_RIGHTS: readonly unknown[] = ['aclcheck_error', 'check_enable_rls', 'ExecWithCheckOptions'];
const OURS = /\b(?:event(?:_\d\d)?|quarantine|stream|migration)\b/;

/** The log drops a line that is too long, so a server's message is never repeated whole. */
const MAX_MESSAGE = 300;

/** A message of a server as it may be repeated: cut where it is long. */
export function shortened(message: string): string {
  return message.length <= MAX_MESSAGE ? message : `${message.slice(0, MAX_MESSAGE)}…`;
}

/** What drivers put into the error that a server answers with. */
export interface ServerError {
  readonly routine?: unknown;
  readonly severity?: unknown;
  readonly message?: unknown;
  /** Where in the statement's text: of what the server met before it ran it. */
  readonly position?: unknown;
  /** In which function it arose. */
  readonly where?: unknown;
}

/** Whether the server itself wrote the error. A trigger can raise one with any SQLSTATE, any text and any names. */
export function isOfTheServer({ routine, severity }: ServerError): boolean {
  return typeof routine === 'string' ? routine !== 'exec_stmt_raise' : severity === 'FATAL';
}

/**
 * Whether the message of an error quotes no value. What a function runs may be put together from values, names of tables, too.
 *
 * @param eventsOf the schema of the events that the statement reads or writes, if it does: constraints and indexes work on their values
 */
export function isTellable(sqlState: string, error: ServerError, eventsOf: string | undefined): boolean {
  const isOfAFunction = typeof error.where === 'string' && error.where !== '';
  const sqlClass = sqlState.slice(0, 2);
  if (!MESSAGE_CLASSES.includes(sqlClass) || !isOfTheServer(error) || isOfAFunction) return false;
  if (
    eventsOf === undefined ||
    (SESSION_CLASSES as readonly string[]).includes(sqlClass) ||
    sqlState === LOCK_NOT_AVAILABLE
  )
    return true;
  if (typeof error.position === 'string' && error.position !== '') return true;
  if (!CHECKS_RIGHTS.includes(error.routine) || typeof error.message !== 'string') return false;
  return OURS.test(error.message) || new RegExp(`\\b${eventsOf}\\b`).test(error.message);
}
