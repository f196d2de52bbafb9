import { ERRORS, OutboxError } from '../../errors.ts';
import { reasonOf, type Reason } from '../observe/reason.ts';
import type { Failure } from './api.ts';

/** A reason, with the code's next step. */
export function told({ code, detail }: Reason): Failure {
  return { code, message: detail, next: ERRORS[code].next };
}

/** An error as a reader is told: only the log repeats the words of one without a code. */
export function failureOf(error: unknown): Failure {
  if (error instanceof OutboxError) return { code: error.code, message: error.message, next: error.next };
  return told(reasonOf(error));
}
