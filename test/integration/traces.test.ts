import { expect, test } from 'vitest';
import { attributesOf, Collector } from '../support/collector.ts';
import { command } from '../support/command.ts';
import { Gateway } from '../support/gateway.ts';
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

test('the streamer traces each batch with its steps, and links it to the sampled spans that sent its events', async () => {
  await using outbox = await Outbox.create();
  await using collector = await Collector.start();
  const streamer = outbox.stream({ ...collector.environment, OUTBOX_FLUSH_INTERVAL_MS: '500' });
  await streamer.attached();
  for (const spanId of ['b7ad6b7169203331', 'b7ad6b7169203332', 'b7ad6b7169203331']) await emit(outbox, spanId, '01');
  await emit(outbox, 'b7ad6b7169203333', '00');
  await outbox.untilDelivered(4);
  // the stop exports the spans that are left
  expect(await streamer.stop()).toBe(0);
  const batches = collector.spans.filter(({ name }) => name === 'process outbox');
  const links = batches.flatMap((span) => span.links ?? []);
  expect(new Set(links.map(({ traceId }) => traceId))).toEqual(new Set([TRACE_ID]));
  expect(new Set(links.map(({ spanId }) => spanId))).toEqual(new Set(['b7ad6b7169203331', 'b7ad6b7169203332']));
  for (const batch of batches) {
    const steps = collector.spans.filter(({ parentSpanId }) => parentSpanId === batch.spanId);
    expect(steps.map(({ name }) => name).toSorted()).toEqual(['INSERT events', 'intend', 'settle']);
    expect(steps.every(({ traceId }) => traceId === batch.traceId)).toBe(true);
  }
  expect(await outbox.select("SELECT trace_id, span_id FROM events WHERE span_id = 'b7ad6b7169203333'")).toEqual([
    { trace_id: TRACE_ID, span_id: 'b7ad6b7169203333' },
  ]);
});

test('the streamer adds deliver spans to the sampled traces that sent the events, up to the limit', async () => {
  await using outbox = await Outbox.create();
  await using collector = await Collector.start();
  const streamer = outbox.stream({
    ...collector.environment,
    OUTBOX_FLUSH_INTERVAL_MS: '1000',
    OUTBOX_TRACE_DELIVER_SPANS: '2',
  });
  await streamer.attached();
  await outbox.postgres.query(
    `INSERT INTO outbox.event (event_type, event_context, traceparent)
     SELECT 't', '{}', format('00-${TRACE_ID}-%s-%s', span, flags)
       FROM (VALUES ('b7ad6b7169203330', '00'), ('b7ad6b7169203331', '01'), ('b7ad6b7169203332', '01'),
                    ('b7ad6b7169203331', '01'), ('b7ad6b7169203333', '01')) AS sent (span, flags)`,
  );
  await outbox.untilDelivered(5);
  expect(await streamer.stop()).toBe(0);
  const [batch] = collector.spans.filter(({ name }) => name === 'process outbox');
  expect(batch!.links).toHaveLength(3);
  expect(attributesOf(batch!)).toMatchObject({ 'outbox.unlinked_events': expect.anything() });
  const deliveries = collector.spans.filter(({ name }) => name === 'deliver');
  const parents = deliveries.map(({ parentSpanId }) => parentSpanId);
  expect(parents).toEqual(['b7ad6b7169203331', 'b7ad6b7169203332']);
  for (const delivery of deliveries) {
    expect(delivery.traceId).toBe(TRACE_ID);
    expect(delivery.links).toEqual([expect.objectContaining({ traceId: batch!.traceId, spanId: batch!.spanId })]);
    // from the commit, which is before the batch was cut, to the end of the step that settles it; the SDK rounds to the ms
    expect(BigInt(delivery.startTimeUnixNano)).toBeLessThan(BigInt(batch!.startTimeUnixNano));
    const settle = collector.spans.find(({ name }) => name === 'settle')!;
    expect(BigInt(delivery.endTimeUnixNano)).toBeGreaterThan(BigInt(settle.endTimeUnixNano) - 2_000_000n);
  }
  expect(attributesOf(deliveries[0]!)).toMatchObject({ 'messaging.batch.message_count': 2 });
  expect(attributesOf(deliveries[1]!)).toMatchObject({ 'messaging.message.id': expect.any(String) });
});

test('the streamer records an insert’s retries on its span, puts the trace in log lines and sends it to ClickHouse', async () => {
  await using outbox = await Outbox.create();
  await using collector = await Collector.start();
  await using gateway = await Gateway.to(outbox.clickhouseUrl);
  gateway.losing = 2;
  const streamer = outbox.stream({ ...collector.environment, CLICKHOUSE_URL: gateway.url });
  await emit(outbox, 'b7ad6b7169203331', '01');
  await outbox.untilDelivered(1);
  expect(await streamer.stop()).toBe(0);
  const insert = collector.spans.find(({ name }) => name === 'INSERT events')!;
  expect(insert.events?.map((event) => [event.name, attributesOf(event)])).toEqual([
    ['retry', { 'error.type': 'OUTBOX_CH_UNREACHABLE', 'outbox.attempt': 1 }],
    ['retry', { 'error.type': 'OUTBOX_CH_UNREACHABLE', 'outbox.attempt': 2 }],
  ]);
  expect(attributesOf(insert)).toMatchObject({
    'outbox.attempts': 3,
    'server.address': '127.0.0.1',
    'server.port': Number(new URL(gateway.url).port),
    'db.namespace': new URL(outbox.clickhouseUrl).pathname.slice(1),
  });
  // it succeeded in the end
  expect(insert.status?.code ?? 0).toBe(0);
  const traceparent = `00-${insert.traceId}-${insert.spanId}-01`;
  expect(gateway.inserts.map((headers) => headers['traceparent'])).toEqual([traceparent, traceparent, traceparent]);
  const lines = streamer.logs.filter(({ msg }) => msg === 'insert failed, will be repeated');
  expect(lines.map(({ level, trace_id: id }) => [level, id])).toEqual([
    ['error', insert.traceId],
    ['debug', insert.traceId],
  ]);
});

test('the streamer follows the OTEL_* variables for protocol, sampler and exporters, and rejects grpc', async () => {
  await using outbox = await Outbox.create();
  await using collector = await Collector.start();
  const endpoint = { OTEL_EXPORTER_OTLP_ENDPOINT: collector.url };
  const run = async (environment: Record<string, string>, events: number): Promise<readonly string[]> => {
    const before = collector.exports.length;
    const streamer = outbox.stream({ ...endpoint, ...environment });
    await emit(outbox, 'b7ad6b7169203331', '01');
    await outbox.untilDelivered(events);
    expect(await streamer.stop()).toBe(0);
    return collector.exports.slice(before).map(({ path, type }) => `${path} ${type}`);
  };
  const usual = await run({}, 1);
  expect(new Set(usual)).toEqual(new Set(['/v1/traces application/x-protobuf', '/v1/metrics application/x-protobuf']));
  const bodyOf = (path: string): Buffer => collector.exports.find((each) => each.path === path)!.body;
  expect(bodyOf('/v1/traces').includes('process outbox')).toBe(true);
  expect(bodyOf('/v1/metrics').includes('outbox.freshness')).toBe(true);
  expect(await run({ OTEL_TRACES_SAMPLER: 'always_off', OTEL_METRICS_EXPORTER: 'none' }, 2)).toEqual([]);
  expect(await run({ OTEL_TRACES_EXPORTER: 'none', OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json' }, 3)).toEqual([
    '/v1/metrics application/json',
  ]);
  const { code, stderr } = await command(outbox, ['run'], { ...endpoint, OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc' }).done;
  expect(code).toBe(2);
  expect(stderr).toContain('OTEL_EXPORTER_OTLP_PROTOCOL must be one of http/protobuf, http/json');
});

test('the streamer delivers and stops with code 0 while the collector is unreachable', async () => {
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
