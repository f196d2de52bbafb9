import { context, SpanKind, SpanStatusCode, trace, type Span } from '@opentelemetry/api';
import { OutboxError } from '../errors.ts';
import { PACKAGE_NAME } from '../package.ts';
import { formatTraceparent } from '../traceparent.ts';

/** The span that sent an event, in the form of https://www.w3.org/TR/trace-context/. */
export interface TraceContext {
  /** `00-<trace id>-<span id>-<flags>`, or null outside a span. */
  readonly traceparent: string | null;
  /** The vendors' list, or null when there is none. */
  readonly tracestate: string | null;
}

const NONE: TraceContext = { traceparent: null, tracestate: null };

/**
 * Sends events within a span `send outbox`, a child of the active span. The context of the new span goes with the events.
 * Without an OpenTelemetry SDK there is no new span, and the context is that of the active span, if there is one.
 *
 * https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/
 */
export async function sending(events: number, send: (sender: TraceContext) => Promise<void>): Promise<void> {
  const attributes = {
    'messaging.system': 'pg_outbox',
    'messaging.operation.name': 'send',
    'messaging.operation.type': 'send',
    'messaging.destination.name': 'outbox',
    'messaging.batch.message_count': events,
  };
  const span = trace.getTracer(PACKAGE_NAME).startSpan('send outbox', { kind: SpanKind.PRODUCER, attributes });
  try {
    await context.with(trace.setSpan(context.active(), span), async () => send(contextOf(span)));
  } catch (error) {
    // The message may be the server's. The code says enough here.
    const code = error instanceof OutboxError ? error.code : 'unexpected error';
    span.setAttribute('error.type', error instanceof OutboxError ? code : '_OTHER');
    span.setStatus({ code: SpanStatusCode.ERROR, message: code });
    throw error;
  } finally {
    span.end();
  }
}

function contextOf(span: Span): TraceContext {
  const spanContext = span.spanContext();
  const traceparent = formatTraceparent(spanContext);
  return traceparent === undefined ? NONE : { traceparent, tracestate: listable(spanContext.traceState?.serialize()) };
}

/** Another library writes the tracestate. One that the W3C grammar forbids is left out, so that it cannot fail an INSERT. */
function listable(tracestate: string | undefined): string | null {
  return tracestate !== undefined && /^[\x20-\x7e]{1,8192}$/.test(tracestate) ? tracestate : null;
}
