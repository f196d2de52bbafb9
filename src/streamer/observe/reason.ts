import { OutboxError, type ErrorCode } from '../../errors.ts';

/** Why events do not flow. */
export interface Reason {
  readonly code: ErrorCode;
  /** What exactly, without payloads, passwords or URLs. */
  readonly detail: string;
}

/** An error as a reason. An error without a code is a fault of this program, and only the log repeats its words. */
export function reasonOf(error: unknown): Reason {
  if (!(error instanceof OutboxError))
    return { code: 'OUTBOX_FLOW_FAILED', detail: 'an error without a code, which the log has' };
  return { code: error.code, detail: error.message };
}
