/**
 * One trace from a request to the row. Set SHOP_URL and JAEGER_URL to test what already runs there instead, for example in
 * docker compose:
 *
 *   SHOP_URL=http://localhost:3000 JAEGER_URL=http://localhost:16686 npx vitest run --project integration request-trace
 */
import { expect, test } from 'vitest';
import { Service, SHOP } from '../../src/demo/processes.ts';
import { SHOP_TABLES } from '../../src/demo/schema.ts';
import { attributesOf, Collector, type CollectedSpan } from '../support/collector.ts';
import { jaegerSpans } from '../support/jaeger.ts';
import { Outbox } from '../support/outbox.ts';
import { eventually } from '../support/wait.ts';

const INTERNAL = 1;
const SERVER = 2;
const CLIENT = 3;
const PRODUCER = 4;
const CONSUMER = 5;
const MESSAGING = { 'messaging.system': 'pg_outbox', 'messaging.destination.name': 'outbox' };

interface Stage {
  readonly shopUrl: string;
  /** The spans of a trace that have arrived. */
  readonly spans: (traceId: string) => Promise<readonly CollectedSpan[]>;
  /** Called when the request is answered. */
  readonly answered: (events: readonly string[], traceId: string) => Promise<void>;
  readonly close: () => Promise<void>;
}

async function running(shopUrl: string, jaegerUrl: string): Promise<Stage> {
  return {
    shopUrl,
    spans: async (traceId) => jaegerSpans(jaegerUrl, traceId),
    answered: async () => undefined,
    close: async () => undefined,
  };
}

async function embedded(): Promise<Stage> {
  const stack = new AsyncDisposableStack();
  const outbox = stack.use(await Outbox.create());
  const collector = stack.use(await Collector.start());
  await outbox.postgres.query(SHOP_TABLES);
  const streamer = outbox.stream(collector.environment);
  const env = { DATABASE_URL: outbox.databaseUrl, PORT: '0', ...collector.environment };
  const shop = await Service.start(SHOP, [], env, 'listening', () => undefined);
  stack.defer(async () => void (await shop.stop()));
  return {
    shopUrl: shop.up.url!,
    spans: async (traceId) => collector.spans.filter((span) => span.traceId === traceId),
    answered: async (events, traceId) => {
      await outbox.untilDelivered(events.length);
      expect(await outbox.select('SELECT toString(event_id) AS id, trace_id FROM events')).toEqual(
        events.map((id) => ({ id, trace_id: traceId })),
      );
      // the stop exports the spans that are left
      await Promise.all([streamer.stop(), shop.stop()]);
    },
    close: async () => stack.disposeAsync(),
  };
}

function only(spans: readonly CollectedSpan[], name: string): CollectedSpan {
  const found = spans.filter((span) => span.name === name);
  expect(found.map((span) => span.name)).toEqual([name]);
  return found[0]!;
}

test('a request’s trace includes the delivery of its event and links to the batch that carried it', async () => {
  const { SHOP_URL: shopUrl, JAEGER_URL: jaegerUrl } = process.env;
  const stage = shopUrl && jaegerUrl ? await running(shopUrl, jaegerUrl) : await embedded();
  try {
    const response = await fetch(new URL('/users', stage.shopUrl), {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ name: 'traced' }),
    });
    const { events, traceId } = (await response.json()) as { events: string[]; traceId: string };
    await stage.answered(events, traceId);

    const spans = await eventually('the delivery in the trace of the request', async () => {
      const found = await stage.spans(traceId);
      return found.some(({ name }) => name === 'deliver') && found.some(({ kind }) => kind === SERVER) && found;
    });
    expect(spans).toHaveLength(3);
    const request = spans.find(({ kind }) => kind === SERVER)!;
    const send = only(spans, 'send outbox');
    const deliver = only(spans, 'deliver');
    expect(request.parentSpanId ?? '').toBe('');
    expect(send).toMatchObject({ kind: PRODUCER, parentSpanId: request.spanId });
    expect(attributesOf(send)).toMatchObject({ ...MESSAGING, 'messaging.operation.type': 'send' });
    expect(deliver).toMatchObject({ kind: CONSUMER, parentSpanId: send.spanId });
    expect(attributesOf(deliver)).toMatchObject({
      ...MESSAGING,
      'messaging.operation.name': 'deliver',
      'messaging.operation.type': 'process',
      'messaging.message.id': events[0],
    });
    // the times come from the clocks of two processes and of the server, all on one host
    expect(BigInt(deliver.startTimeUnixNano)).toBeGreaterThanOrEqual(BigInt(request.startTimeUnixNano));
    expect(BigInt(deliver.endTimeUnixNano)).toBeGreaterThan(BigInt(deliver.startTimeUnixNano));

    const [batch] = deliver.links!;
    expect(deliver.links).toHaveLength(1);
    const steps = await eventually('the trace of the batch', async () => {
      const found = await stage.spans(batch!.traceId);
      return found.some(({ name }) => name === 'process outbox') && found;
    });
    const processed = only(steps, 'process outbox');
    expect(processed).toMatchObject({ spanId: batch!.spanId, kind: CONSUMER });
    expect(processed.links).toContainEqual(expect.objectContaining({ traceId, spanId: send.spanId }));
    const below: [string, number][] = [
      ['intend', INTERNAL],
      ['INSERT events', CLIENT],
      ['settle', CLIENT],
    ];
    for (const [name, kind] of below) expect(only(steps, name)).toMatchObject({ kind, parentSpanId: processed.spanId });
    expect(Object.keys(attributesOf(processed))).toEqual(
      expect.arrayContaining(['messaging.batch.message_count', 'outbox.oldest_event.age', 'outbox.unlinked_events']),
    );
    expect(attributesOf(only(steps, 'INSERT events'))).toMatchObject({
      'db.system.name': 'clickhouse',
      'db.operation.name': 'INSERT',
      'db.query.summary': 'INSERT events',
      'db.collection.name': 'events',
      'server.address': expect.any(String),
      'server.port': expect.anything(),
    });
    expect(attributesOf(only(steps, 'settle'))).toMatchObject({ 'messaging.operation.type': 'settle' });
  } finally {
    await stage.close();
  }
});
