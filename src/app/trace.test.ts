import { type Context, context, createTraceState, ROOT_CONTEXT, trace, TraceFlags } from '@opentelemetry/api';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { sending, type TraceContext } from './trace.ts';

const TRACE_ID = '0af7651916cd43dd8448eb211c80319c';
const SPAN_ID = 'b7ad6b7169203331';

/** A context manager for synchronous code, instead of the one that an SDK would register. */
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

async function sent(): Promise<TraceContext | undefined> {
  let seen: TraceContext | undefined;
  await sending(1, async (sender) => {
    seen = sender;
  });
  return seen;
}

async function within(spanContext: Parameters<typeof trace.wrapSpanContext>[0]): Promise<TraceContext | undefined> {
  return context.with(trace.setSpan(ROOT_CONTEXT, trace.wrapSpanContext(spanContext)), sent);
}

// No SDK is registered, so there is no new span, and the context is the active span's.
describe('the trace context of an event', () => {
  test('it is empty without an active span', async () => {
    expect(await sent()).toEqual({ traceparent: null, tracestate: null });
  });

  test('it is the W3C header of the active span', async () => {
    expect(await within({ traceId: TRACE_ID, spanId: SPAN_ID, traceFlags: TraceFlags.SAMPLED })).toEqual({
      traceparent: `00-${TRACE_ID}-${SPAN_ID}-01`,
      tracestate: null,
    });
  });

  test('it is kept for a span that is not sampled', async () => {
    const { traceparent } = (await within({ traceId: TRACE_ID, spanId: SPAN_ID, traceFlags: TraceFlags.NONE }))!;
    expect(traceparent).toBe(`00-${TRACE_ID}-${SPAN_ID}-00`);
  });

  test('it has the tracestate of the span', async () => {
    const traceState = createTraceState('rojo=00f067aa0ba902b7,congo=t61rcWkgMzE');
    const { tracestate } = (await within({ traceId: TRACE_ID, spanId: SPAN_ID, traceFlags: 1, traceState }))!;
    expect(tracestate).toBe('rojo=00f067aa0ba902b7,congo=t61rcWkgMzE');
  });

  test.for(['', 'a=\0', 'a=ü', 'a=\n', 'x'.repeat(8193)])(
    'it leaves out a tracestate that W3C forbids: %j',
    async (text) => {
      const traceState = { ...createTraceState(), serialize: () => text };
      const { traceparent, tracestate } = (await within({
        traceId: TRACE_ID,
        spanId: SPAN_ID,
        traceFlags: 1,
        traceState,
      }))!;
      expect(tracestate).toBeNull();
      expect(traceparent).not.toBeNull();
    },
  );

  test.for([
    ['0'.repeat(32), SPAN_ID],
    [TRACE_ID, '0'.repeat(16)],
    ['not hex', SPAN_ID],
    [TRACE_ID, `${SPAN_ID}00`],
  ] as const)('it is empty for an invalid span context: %s %s', async ([traceId, spanId]) => {
    expect(await within({ traceId, spanId, traceFlags: 1 })).toEqual({ traceparent: null, tracestate: null });
  });
});
