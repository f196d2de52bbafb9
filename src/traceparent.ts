import { isSpanContextValid, type SpanContext } from '@opentelemetry/api';

/**
 * `00-<trace id>-<span id>-<flags>`, sampled or not; undefined for what is no valid span context.
 *
 * Built here rather than by `propagation.inject`, because the application may have registered another propagator (B3,
 * Jaeger), and the column holds W3C.
 *
 * https://www.w3.org/TR/trace-context/#traceparent-header
 */
export function formatTraceparent(spanContext: SpanContext): string | undefined {
  if (!isSpanContextValid(spanContext)) return undefined;
  const flags = (spanContext.traceFlags & 0xff).toString(16).padStart(2, '0');
  return `00-${spanContext.traceId.toLowerCase()}-${spanContext.spanId.toLowerCase()}-${flags}`;
}
