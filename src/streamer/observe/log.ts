import { type DestinationStream, type Logger, pino, stdTimeFunctions } from 'pino';
import { isSpanContextValid, trace } from '@opentelemetry/api';
import { OutboxError, saidFor } from '../../errors.ts';
import { PACKAGE_NAME } from '../../package.ts';
import { DEFAULT_SCHEMA } from '../../schema-name.ts';
import type { Config } from '../settings.ts';

export type { Logger };

export interface LoggerOptions {
  level: Config['logLevel'];
  /** The `service` field of every line. */
  service?: string;
  /** Of the outbox that errors are told of. */
  schema?: string;
}

/** Causes printed below an error; more would be noise, and a cycle would have no end. */
const MAX_CAUSES = 3;

/**
 * The process' logger: JSON lines with an ISO `time`, the level as a word and `service`.
 *
 * There is no pid and no hostname: in a container both are constant or given by whoever collects the lines.
 *
 * @param destination where lines go: a LogWriter does not hold the process
 */
export function createLogger(
  { level, service = PACKAGE_NAME, schema = DEFAULT_SCHEMA }: LoggerOptions,
  destination: DestinationStream,
): Logger {
  const serialize = (error: unknown): Record<string, unknown> => serializeError(error, schema);
  const options = {
    level,
    base: { service },
    timestamp: stdTimeFunctions.isoTime,
    serializers: { err: serialize },
    hooks: { streamWrite: withoutPasswords },
    mixin: activeSpan,
    formatters: {
      level: (label: string) => ({ level: label }),
      log: (fields: Record<string, unknown>) => serializeErrorsUnderAnyKey(fields, serialize),
    },
  };
  return pino(options, destination);
}

/** Lines that are written within a span name it. */
function activeSpan(): Record<string, string> {
  const spanContext = trace.getActiveSpan()?.spanContext();
  if (spanContext === undefined || !isSpanContextValid(spanContext)) return {};
  return { trace_id: spanContext.traceId, span_id: spanContext.spanId };
}

/** An error under another key than `err` would be printed with all that a driver hangs on it. */
function serializeErrorsUnderAnyKey(
  fields: Record<string, unknown>,
  serialize: (error: unknown) => Record<string, unknown>,
): Record<string, unknown> {
  if (!Object.entries(fields).some(([key, value]) => key !== 'err' && value instanceof Error)) return fields;
  return Object.fromEntries(
    Object.entries(fields).map(([key, value]) => [
      key,
      key !== 'err' && value instanceof Error ? serialize(value) : value,
    ]),
  );
}

/**
 * What of an error may be printed: a fixed list of fields. Drivers put parameters, rows and passwords into other
 * properties of their errors (`detail`, `where`, `input`, …), which is why nothing else is ever copied.
 *
 * An error that is not ours is unexpected, so it also shows its frames.
 */
function serializeError(error: unknown, schema: string): Record<string, unknown> {
  const cause = error instanceof Error ? serializeCause(error.cause, MAX_CAUSES) : undefined;
  if (error instanceof OutboxError) {
    const { code, sqlState, clickhouseCode, problems } = error;
    return dropAbsent({
      code,
      ...saidFor(schema, error),
      sqlState,
      clickhouseCode,
      problems: problems.length > 0 ? problems : undefined,
      cause,
    });
  }
  const frames = error instanceof Error ? error.stack?.match(/^ {4}at .+$/gm)?.map((frame) => frame.trim()) : undefined;
  return dropAbsent({ type: error instanceof Error ? error.name : typeof error, ...describe(error), frames, cause });
}

function serializeCause(cause: unknown, depth: number): Record<string, unknown> | undefined {
  if (cause === undefined || depth === 0) return undefined;
  const deeper = cause instanceof Error ? serializeCause(cause.cause, depth - 1) : undefined;
  return dropAbsent({ ...describe(cause), cause: deeper });
}

function describe(error: unknown): { message: string; code: string | number | undefined } {
  if (!(error instanceof Error)) return { message: `not an Error but a ${typeof error}`, code: undefined };
  const code =
    'code' in error && (typeof error.code === 'string' || typeof error.code === 'number') ? error.code : undefined;
  return { message: error.message || innerMessages(error), code };
}

/** Node reports a refused connection to a name with several addresses as an AggregateError without a message. */
function innerMessages(error: Error): string {
  if (!(error instanceof AggregateError)) return '';
  return error.errors.map((inner: unknown) => (inner instanceof Error ? inner.message : '')).join('; ');
}

/** A last net under the whole line: a connection URL that a library quotes in a message, or that was logged by mistake. */
function withoutPasswords(line: string): string {
  return line.replace(/(:\/\/[^\s:/@"]*):[^\s/@"]*@/g, '$1@');
}

function dropAbsent(fields: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}
