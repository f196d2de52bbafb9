import { isSpanContextValid, trace } from '@opentelemetry/api';

/** What an event keeps of the span in which it was emitted, in the form of https://www.w3.org/TR/trace-context/. */
export interface TraceContext {
  /** `00-<trace id>-<span id>-<flags>`, or null outside a span. */
  readonly traceparent: string | null;
  /** The vendors' list, or null when there is none. */
  readonly tracestate: string | null;
}

const NONE: TraceContext = { traceparent: null, tracestate: null };

/**
 * The context of the active span, sampled or not; empty without one, and without an OpenTelemetry SDK.
 *
 * Built here rather than by `propagation.inject`, because the application may have registered another propagator (B3,
 * Jaeger), and the column holds W3C.
 */
export function activeTraceContext(): TraceContext {
  const context = trace.getActiveSpan()?.spanContext();
  if (!context || !isSpanContextValid(context)) return NONE;
  const flags = (context.traceFlags & 0xff).toString(16).padStart(2, '0');
  return {
    traceparent: `00-${context.traceId.toLowerCase()}-${context.spanId.toLowerCase()}-${flags}`,
    tracestate: listable(context.traceState?.serialize()),
  };
}

/** A tracestate is another library's text: what the W3C grammar forbids is left out, for it must never fail an INSERT. */
function listable(tracestate: string | undefined): string | null {
  return tracestate !== undefined && /^[\x20-\x7e]{1,8192}$/.test(tracestate) ? tracestate : null;
}
