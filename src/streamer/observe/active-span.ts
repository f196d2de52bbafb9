import { SpanStatusCode, trace, type Attributes, type Span } from '@opentelemetry/api';
import { OutboxError } from '../../errors.ts';
import { formatTraceparent } from '../../traceparent.ts';

/** Headers that carry the active span to another service; none without one. */
export function traceHeaders(): Record<string, string> {
  const span = trace.getActiveSpan();
  const traceparent = span && formatTraceparent(span.spanContext());
  return traceparent === undefined ? {} : { traceparent };
}

/** Notes on the active span that its work failed and will be repeated. */
export function traceRetry(error: OutboxError, attempts: number): void {
  const span = trace.getActiveSpan();
  span?.addEvent('retry', { ...errorAttributes(error), 'outbox.attempt': attempts });
  span?.setAttribute('outbox.attempts', attempts + 1);
}

/** Marks a span as failed, without the error's words. */
export function markFailed(span: Span, error: unknown): void {
  span.setAttributes(errorAttributes(error));
  span.setStatus({
    code: SpanStatusCode.ERROR,
    message: error instanceof OutboxError ? error.code : 'unexpected error',
  });
}

/** https://opentelemetry.io/docs/specs/semconv/general/recording-errors/ */
function errorAttributes(error: unknown): Attributes {
  if (!(error instanceof OutboxError)) return { 'error.type': '_OTHER' };
  const status = error.clickhouseCode ?? error.sqlState;
  return { 'error.type': error.code, ...(status === undefined ? {} : { 'db.response.status_code': String(status) }) };
}
