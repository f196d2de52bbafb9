import { OutboxError, saidFor, type ErrorCode } from '../../errors.ts';
import { DEFAULT_SCHEMA } from '../../schema-name.ts';

/** Why events do not flow. */
export interface Reason {
  readonly code: ErrorCode;
  /** What exactly, without payloads, passwords or URLs. */
  readonly detail: string;
}

/**
 * An error as a reason. An error without a code is a fault of this program, and only the log repeats its words.
 *
 * @param schema of the outbox
 */
export function reasonOf(error: unknown, schema = DEFAULT_SCHEMA): Reason {
  if (!(error instanceof OutboxError))
    return { code: 'OUTBOX_FLOW_FAILED', detail: 'an error without a code, which the log has' };
  return { code: error.code, detail: saidFor(schema, error).message };
}
