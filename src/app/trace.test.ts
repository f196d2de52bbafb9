import { type Context, context, createTraceState, ROOT_CONTEXT, trace, TraceFlags } from '@opentelemetry/api';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { activeTraceContext } from './trace.ts';

const TRACE_ID = '0af7651916cd43dd8448eb211c80319c';
const SPAN_ID = 'b7ad6b7169203331';

/** Enough of a context manager for synchronous code: what an SDK would register. */
let active: Context = ROOT_CONTEXT;

beforeAll(() => {
  context.setGlobalContextManager({
    active: () => active,
    with: (next, run, self, ...args) => {
      const before = active;
      active = next;
      try {
        return run.call(self, ...args);
      } finally {
        active = before;
      }
    },
    bind: (_, target) => target,
    enable() {
      return this;
    },
    disable() {
      return this;
    },
  });
});

afterAll(() => {
  context.disable();
});

function within(spanContext: Parameters<typeof trace.wrapSpanContext>[0]): ReturnType<typeof activeTraceContext> {
  return context.with(trace.setSpan(ROOT_CONTEXT, trace.wrapSpanContext(spanContext)), activeTraceContext);
}

describe('the trace context', () => {
  test('is empty without an active span', () => {
    expect(activeTraceContext()).toEqual({ traceparent: null, tracestate: null });
  });

  test('is the W3C header of the active span', () => {
    expect(within({ traceId: TRACE_ID, spanId: SPAN_ID, traceFlags: TraceFlags.SAMPLED })).toEqual({
      traceparent: `00-${TRACE_ID}-${SPAN_ID}-01`,
      tracestate: null,
    });
  });

  test('is kept for a span that is not sampled', () => {
    const { traceparent } = within({ traceId: TRACE_ID, spanId: SPAN_ID, traceFlags: TraceFlags.NONE });
    expect(traceparent).toBe(`00-${TRACE_ID}-${SPAN_ID}-00`);
  });

  test('has the tracestate of the span', () => {
    const traceState = createTraceState('rojo=00f067aa0ba902b7,congo=t61rcWkgMzE');
    const { tracestate } = within({ traceId: TRACE_ID, spanId: SPAN_ID, traceFlags: 1, traceState });
    expect(tracestate).toBe('rojo=00f067aa0ba902b7,congo=t61rcWkgMzE');
  });

  test.for(['', 'a=\0', 'a=ü', 'a=\n', 'x'.repeat(8193)])('leaves out a tracestate that W3C forbids: %j', (text) => {
    const traceState = { ...createTraceState(), serialize: () => text };
    const { traceparent, tracestate } = within({ traceId: TRACE_ID, spanId: SPAN_ID, traceFlags: 1, traceState });
    expect(tracestate).toBeNull();
    expect(traceparent).not.toBeNull();
  });

  test.for([
    ['0'.repeat(32), SPAN_ID],
    [TRACE_ID, '0'.repeat(16)],
    ['not hex', SPAN_ID],
    [TRACE_ID, `${SPAN_ID}00`],
  ] as const)('is empty for an invalid span context: %s %s', ([traceId, spanId]) => {
    expect(within({ traceId, spanId, traceFlags: 1 })).toEqual({ traceparent: null, tracestate: null });
  });
});
