import { diag, DiagLogLevel, trace } from '@opentelemetry/api';
import { InMemorySpanExporter, SimpleSpanProcessor, TracerProvider } from '@opentelemetry/sdk-trace';
import { afterEach, expect, test } from 'vitest';
import { OutboxError } from '../../errors.ts';
import { Feed } from '../batch/intake.fixture.ts';
import { BatchTrace } from './trace.ts';

const TRACE_ID = '0af7651916cd43dd8448eb211c80319c';
const OPTIONS = {
  source: '1/outbox',
  server: () => new URL('http://127.0.0.1/events'),
  table: 'events',
  deliverSpans: 1,
};

afterEach(() => {
  trace.disable();
  diag.disable();
});

/** The trace of a batch of one event, the spans that have ended, and what the SDK complains about. */
function traced(): { batchTrace: BatchTrace; exporter: InMemorySpanExporter; complaints: unknown[] } {
  const complaints: unknown[] = [];
  const complain = (message: string): void => void complaints.push(message);
  const logger = { error: complain, warn: complain, info: complain, debug: complain, verbose: complain };
  diag.setLogger(logger, { logLevel: DiagLogLevel.WARN });
  const exporter = new InMemorySpanExporter();
  trace.setGlobalTracerProvider(new TracerProvider({ spanProcessors: [new SimpleSpanProcessor({ exporter })] }));
  const traceparent = `00-${TRACE_ID}-b7ad6b7169203331-01`;
  const [batch] = new Feed().transactions({ commitLsn: 1000, endLsn: 1040, events: [{ traceparent }] }).cutAll();
  return { batchTrace: new BatchTrace(batch!, OPTIONS), exporter, complaints };
}

test('BatchTrace ends once, with the error, when the write that settles its batch fails', async () => {
  const { batchTrace, exporter, complaints } = traced();
  const error = new OutboxError('OUTBOX_EPOCH_LOST');
  await expect(batchTrace.settling(async () => Promise.reject(error))).rejects.toBe(error);
  batchTrace.close();
  const spans = exporter.getFinishedSpans();
  expect(spans.map(({ name, attributes }) => [name, attributes['error.type']])).toEqual([
    ['process outbox', 'OUTBOX_EPOCH_LOST'],
    ['settle', 'OUTBOX_EPOCH_LOST'],
  ]);
  expect(complaints).toEqual([]);
});

test('BatchTrace ends without an error when closed early, and adds a span to the sender’s trace when settled', async () => {
  const abandoned = traced();
  abandoned.batchTrace.close();
  expect(abandoned.exporter.getFinishedSpans().map(({ name, status }) => [name, status.code])).toEqual([
    ['process outbox', 0],
  ]);
  trace.disable();
  const settled = traced();
  await settled.batchTrace.settling(async () => Promise.resolve());
  const deliver = settled.exporter.getFinishedSpans().find(({ name }) => name === 'deliver');
  expect(deliver?.spanContext().traceId).toBe(TRACE_ID);
  expect(deliver?.attributes['outbox.source']).toBe(OPTIONS.source);
});
