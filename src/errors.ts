import type { Entry, Policy } from './error-codes/entry.ts';
import { CLICKHOUSE } from './error-codes/clickhouse.ts';
import { LIBRARY } from './error-codes/library.ts';
import { POSTGRES } from './error-codes/postgres.ts';
import { PROCESS } from './error-codes/process.ts';
import { oneLine } from './one-line.ts';
import { toldOf } from './schema-name.ts';

/**
 * Every error of this project: a stable code, what happened, and what to do next. docs/errors.md is generated from this
 * table (`npm run docs`), so a code without an entry does not compile and an entry without a page does not pass the tests.
 */
export const ERRORS = { ...LIBRARY, ...POSTGRES, ...CLICKHOUSE, ...PROCESS } as const;

export type ErrorCode = keyof typeof ERRORS;

/** What is done about a code, whoever meets it: src/error-codes/entry.ts. */
export function policyOf(code: ErrorCode): Policy {
  return ERRORS[code].policy;
}

/** Whether the role lacks a privilege: what it may not see is not known. */
export function isPrivilege(code: ErrorCode): boolean {
  const entry: Entry = ERRORS[code];
  return entry.isPrivilege === true;
}

export interface ErrorDetails {
  /** What exactly went wrong here, without any payload, password or parameter. */
  detail?: string;
  /** The next step, where what went wrong here has one that is more exact than the code's. */
  next?: string | undefined;
  /** Every problem found, where several were looked for at once. */
  problems?: readonly string[];
  /** SQLSTATE, where Postgres gave one. */
  sqlState?: string | undefined;
  /** ClickHouse's numeric error code, where it gave one. */
  clickhouseCode?: number | undefined;
  cause?: unknown;
}

/**
 * The one error class of this project. `code` is stable; `next` is the operator's or developer's next step. Both are properties
 * of the error's own; what is not known is not there. An error that is thrown into an application (policy `throw`) has both in
 * its message, too: that is all that test runners print of an error.
 */
export class OutboxError extends Error {
  override readonly name = 'OutboxError';
  readonly code: ErrorCode;
  readonly next: string;
  readonly problems: readonly string[];
  declare readonly sqlState?: string;
  declare readonly clickhouseCode?: number;

  constructor(code: ErrorCode, details: ErrorDetails = {}) {
    const { detail, next, problems = [], sqlState, clickhouseCode, cause } = details;
    const named = problems.map(oneLine);
    const lines = [oneLine(detail ?? ERRORS[code].happened), ...named.map((problem) => `  - ${problem}`)];
    const step = oneLine(next ?? ERRORS[code].next);
    const isThrown = policyOf(code) === 'throw';
    if (isThrown) lines.push(`Next: ${step} (${code})`);
    super(lines.join('\n'), cause === undefined ? undefined : { cause });
    this.code = code;
    this.next = step;
    // what prints properties prints the message, too
    if (isThrown) Object.defineProperty(this, 'next', { enumerable: false });
    this.problems = named;
    if (sqlState !== undefined) this.sqlState = sqlState;
    if (clickhouseCode !== undefined) this.clickhouseCode = clickhouseCode;
  }
}

/** What an error says to whoever runs an outbox of this schema: the texts of the table name the default one. */
export function saidFor(schema: string, error: OutboxError): { readonly message: string; readonly next: string } {
  const { happened } = ERRORS[error.code];
  const isPlain = error.message.startsWith(happened);
  const message = isPlain ? toldOf(schema, happened) + error.message.slice(happened.length) : error.message;
  return { message, next: toldOf(schema, error.next) };
}

/** The message of an error on one line, with its problems: for texts that go on behind it. */
export function summaryOf({ message }: OutboxError): string {
  return message.replaceAll('\n  - ', '; ');
}
