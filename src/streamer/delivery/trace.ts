import { context, isSpanContextValid, ROOT_CONTEXT, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';
import type { Context, Link, Span } from '@opentelemetry/api';
import { OutboxError } from '../../errors.ts';
import { PACKAGE_NAME } from '../../package.ts';
import { formatTraceparent } from '../../traceparent.ts';
import type { Batch } from '../batch/batch.ts';

/**
 * The trace of a batch: `process outbox`, linked to the spans that sent its events, and a child for each step. Without an
 * OpenTelemetry SDK it costs nothing.
 *
 * https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/
 */
export class BatchTrace {
  readonly #span: Span;
  readonly #context: Context;

  constructor(batch: Batch, source: string) {
    const tracer = trace.getTracer(PACKAGE_NAME);
    const attributes = {
      'messaging.system': 'pg_outbox',
      'messaging.operation.name': 'process',
      'messaging.operation.type': 'process',
      'messaging.destination.name': 'outbox',
      'messaging.batch.message_count': batch.rows,
      'messaging.message.body.size': batch.bytes,
      'outbox.source': source,
      'outbox.unlinked_events': batch.producers.unremembered,
    };
    this.#span = tracer.startSpan('process outbox', { kind: SpanKind.CONSUMER, attributes }, ROOT_CONTEXT);
    if (this.#span.isRecording()) this.#span.addLinks(batch.producers.list().flatMap(linkTo));
    this.#context = trace.setSpan(ROOT_CONTEXT, this.#span);
  }

  /** Runs a step in a span of its own, which is active meanwhile. */
  async step<T>(name: string, kind: SpanKind, work: () => Promise<T>): Promise<T> {
    const span = trace.getTracer(PACKAGE_NAME).startSpan(name, { kind }, this.#context);
    try {
      return await context.with(trace.setSpan(this.#context, span), work);
    } catch (error) {
      markFailed(span, error);
      markFailed(this.#span, error);
      // whoever throws here ends the session
      this.#span.end();
      throw error;
    } finally {
      span.end();
    }
  }

  end(): void {
    this.#span.end();
  }
}

/** Headers that carry the active span to another service; none without one. */
export function traceHeaders(): Record<string, string> {
  const span = trace.getActiveSpan();
  const traceparent = span && formatTraceparent(span.spanContext());
  return traceparent === undefined ? {} : { traceparent };
}

function markFailed(span: Span, error: unknown): void {
  const message = error instanceof OutboxError ? error.code : 'unexpected error';
  span.setStatus({ code: SpanStatusCode.ERROR, message });
}

/** What stands in a row is not ours: a traceparent that is none links to nothing. */
function linkTo(traceparent: string): Link[] {
  const [, traceId = '', spanId = '', flags = ''] = traceparent.split('-');
  const spanContext = { traceId, spanId, traceFlags: Number.parseInt(flags, 16), isRemote: true };
  return isSpanContextValid(spanContext) ? [{ context: spanContext }] : [];
}
