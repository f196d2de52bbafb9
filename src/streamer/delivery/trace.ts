import {
  context,
  isSpanContextValid,
  ROOT_CONTEXT,
  SpanKind,
  trace,
  type Attributes,
  type Context,
  type HrTime,
  type Span,
  type SpanContext,
} from '@opentelemetry/api';
import { PACKAGE_NAME } from '../../package.ts';
import { committedSecondsOf } from '../batch/age.ts';
import type { Batch } from '../batch/batch.ts';
import { eventIdOf } from '../batch/event.ts';
import type { Producer } from '../batch/producers.ts';
import { markFailed } from '../observe/active-span.ts';

/** https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/ */
const MESSAGING = { 'messaging.system': 'pg_outbox', 'messaging.destination.name': 'outbox' };

export interface TraceOptions {
  /** System identifier and slot. */
  readonly source: string;
  /** To which a batch is sent now. */
  readonly server: () => URL;
  readonly table: string;
  /** Most spans `deliver` a batch. */
  readonly deliverSpans: number;
}

/**
 * The trace of a batch: `process outbox`, linked to the spans that sent its events, and a child for each step. And in the
 * traces of those that sent them, as far as the limit goes, a span `deliver`, from commit to settled. Without an OpenTelemetry
 * SDK it costs nothing.
 */
export class BatchTrace {
  readonly #options: TraceOptions;
  readonly #rows: number;
  readonly #span: Span;
  readonly #context: Context;
  readonly #deliveries: readonly DeliverSpan[];

  constructor(batch: Batch, options: TraceOptions) {
    this.#options = options;
    this.#rows = batch.rows;
    const tracer = trace.getTracer(PACKAGE_NAME);
    const attributes = {
      ...MESSAGING,
      'messaging.operation.name': 'process',
      'messaging.operation.type': 'process',
      'messaging.batch.message_count': batch.rows,
      'messaging.message.body.size': batch.bytes,
      'outbox.source': options.source,
      'outbox.unlinked_events': batch.producers.unremembered,
    };
    this.#span = tracer.startSpan('process outbox', { kind: SpanKind.CONSUMER, attributes }, ROOT_CONTEXT);
    // without an SDK the span has no valid context, and nobody asks who sent what
    const isTraced = isSpanContextValid(this.#span.spanContext());
    const producers = isTraced ? batch.producers.list() : [];
    if (this.#span.isRecording()) {
      this.#span.setAttribute('outbox.oldest_event.age', Math.max(0, Date.now() / 1000 - committedSecondsOf(batch, 0)));
      this.#span.addLinks(
        producers
          .map(senderOf)
          .filter(isSpanContextValid)
          .map((sender) => ({ context: sender })),
      );
    }
    // the batch's memory is gone when it is settled
    this.#deliveries = producers
      .slice(0, options.deliverSpans)
      .map((producer) => deliveryOf(batch, producer, options.source));
    this.#context = trace.setSpan(ROOT_CONTEXT, this.#span);
  }

  async recording<T>(work: () => Promise<T>): Promise<T> {
    return this.#step('intend', SpanKind.INTERNAL, {}, work);
  }

  /** https://opentelemetry.io/docs/specs/semconv/db/database-spans/ */
  async inserting<T>(work: () => Promise<T>): Promise<T> {
    const { hostname, port, protocol, pathname } = this.#options.server();
    const summary = `INSERT ${this.#options.table}`;
    const attributes = {
      'db.system.name': 'clickhouse',
      'db.namespace': decodeURIComponent(pathname.slice(1)),
      'db.collection.name': this.#options.table,
      'db.operation.name': 'INSERT',
      'db.query.summary': summary,
      // by the conventions, one alone is no batch
      ...(this.#rows > 1 ? { 'db.operation.batch.size': this.#rows } : {}),
      // an IPv6 address stands in brackets in a URL
      'server.address': hostname.replaceAll(/[[\]]/g, ''),
      'server.port': Number(port || (protocol === 'https:' ? 443 : 80)),
    };
    return this.#step(summary, SpanKind.CLIENT, attributes, work);
  }

  /** The step that settles the batch. After it the trace is complete. */
  async settling<T>(work: () => Promise<T>): Promise<T> {
    const attributes = { ...MESSAGING, 'messaging.operation.name': 'settle', 'messaging.operation.type': 'settle' };
    const written = await this.#step('settle', SpanKind.CLIENT, attributes, work);
    for (const delivery of this.#deliveries) this.#tell(delivery);
    this.#span.end();
    return written;
  }

  /** The batch will not be settled here: the next session does it. */
  close(): void {
    // a step that failed has ended it
    if (this.#span.isRecording()) this.#span.end();
  }

  /** Runs a step in a span of its own, which is active meanwhile. */
  async #step<T>(name: string, kind: SpanKind, attributes: Attributes, work: () => Promise<T>): Promise<T> {
    const span = trace.getTracer(PACKAGE_NAME).startSpan(name, { kind, attributes }, this.#context);
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

  /** Shows the delivery in the trace of the request: sampled as that one is, and linked to what was done for it. */
  #tell({ sender, startTime, attributes }: DeliverSpan): void {
    if (!isSpanContextValid(sender)) return;
    const parent = trace.setSpanContext(ROOT_CONTEXT, sender);
    const links = [{ context: this.#span.spanContext() }];
    const options = { kind: SpanKind.CONSUMER, startTime, links, attributes };
    trace.getTracer(PACKAGE_NAME).startSpan('deliver', options, parent).end();
  }
}

/** A span `deliver` to be made once the batch is settled. */
interface DeliverSpan {
  readonly sender: SpanContext;
  readonly startTime: HrTime;
  readonly attributes: Attributes;
}

function deliveryOf(batch: Batch, producer: Producer, source: string): DeliverSpan {
  // the server's clock may be ahead
  const seconds = Math.min(committedSecondsOf(batch, producer.row), Date.now() / 1000);
  return {
    sender: senderOf(producer),
    startTime: [Math.floor(seconds), Math.round((seconds % 1) * 1e9)],
    attributes: {
      ...MESSAGING,
      'messaging.operation.name': 'deliver',
      'messaging.operation.type': 'process',
      'outbox.source': source,
      ...(producer.events === 1
        ? { 'messaging.message.id': eventIdOf(batch, producer.row) }
        : { 'messaging.batch.message_count': producer.events }),
    },
  };
}

/** What stands in a row is not ours: a traceparent that is none gives no valid context. */
function senderOf({ traceparent }: Producer): SpanContext {
  const [, traceId = '', spanId = '', flags = ''] = traceparent.split('-');
  return { traceId, spanId, traceFlags: Number.parseInt(flags, 16), isRemote: true };
}
