import { ERRORS, OutboxError, saidFor } from '../../../errors.ts';
import { toldOf } from '../../../schema-name.ts';
import { reasonOf, type Reason } from '../../observe/reason.ts';
import type { Failure } from './api.ts';

/** A reason, with the code's next step for an outbox of this schema. */
export function told(schema: string, { code, detail }: Reason): Failure {
  return { code, message: detail, next: toldOf(schema, ERRORS[code].next) };
}

/** An error as a reader is told: only the log repeats the words of one without a code. */
export function failureOf(schema: string, error: unknown): Failure {
  if (error instanceof OutboxError) return { code: error.code, ...saidFor(schema, error) };
  return told(schema, reasonOf(error));
}
