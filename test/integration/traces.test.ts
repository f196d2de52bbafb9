import { expect, test } from 'vitest';
import { Collector } from '../support/collector.ts';
import { Outbox } from '../support/outbox.ts';
import { eventually } from '../support/wait.ts';

const TRACE_ID = '0af7651916cd43dd8448eb211c80319c';

async function emit(outbox: Outbox, spanId: string, flags: string): Promise<void> {
  const traceparent = `00-${TRACE_ID}-${spanId}-${flags}`;
  await outbox.postgres.query(
    "INSERT INTO outbox.event (event_type, event_context, traceparent) VALUES ('t', '{}', $1)",
    [traceparent],
  );
}

test('a batch is a trace, linked to the sampled spans that sent its events; its steps are below it', async () => {
  await using outbox = await Outbox.create();
  await using collector = await Collector.start();
  const streamer = outbox.stream({ OTEL_EXPORTER_OTLP_ENDPOINT: collector.url, OUTBOX_FLUSH_INTERVAL_MS: '500' });
  await streamer.attached();
  for (const spanId of ['b7ad6b7169203331', 'b7ad6b7169203332', 'b7ad6b7169203331']) await emit(outbox, spanId, '01');
  await emit(outbox, 'b7ad6b7169203333', '00');
  await outbox.untilDelivered(4);
  // what is not yet exported is exported by the stop
  expect(await streamer.stop()).toBe(0);
  const batches = collector.spans.filter(({ name }) => name === 'process outbox');
  const links = batches.flatMap((span) => span.links ?? []);
  expect(new Set(links.map(({ traceId }) => traceId))).toEqual(new Set([TRACE_ID]));
  expect(new Set(links.map(({ spanId }) => spanId))).toEqual(new Set(['b7ad6b7169203331', 'b7ad6b7169203332']));
  for (const batch of batches) {
    const steps = collector.spans.filter(({ parentSpanId }) => parentSpanId === batch.spanId);
    expect(steps.map(({ name }) => name).toSorted()).toEqual(['clickhouse.insert', 'intend', 'settle']);
    expect(steps.every(({ traceId }) => traceId === batch.traceId)).toBe(true);
  }
  expect(await outbox.select("SELECT trace_id, span_id FROM events WHERE span_id = 'b7ad6b7169203333'")).toEqual([
    { trace_id: TRACE_ID, span_id: 'b7ad6b7169203333' },
  ]);
});

test('an unreachable collector loses no event and does not hold up the stop', async () => {
  await using outbox = await Outbox.create();
  const gone = await Collector.start();
  const { url } = gone;
  await gone[Symbol.asyncDispose]();
  const streamer = outbox.stream({ OTEL_EXPORTER_OTLP_ENDPOINT: url });
  await streamer.attached();
  await emit(outbox, 'b7ad6b7169203331', '01');
  await outbox.untilDelivered(1);
  await eventually('it is settled', async () => (await outbox.ledger())['pending_token'] === null);
  expect(await streamer.stop()).toBe(0);
});
