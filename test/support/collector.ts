import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { createGunzip } from 'node:zlib';

type Value = Readonly<Record<string, unknown>>;

interface Attribute {
  readonly key: string;
  readonly value: Value;
}

export interface CollectedSpan {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly name: string;
  readonly kind: number;
  readonly startTimeUnixNano: string;
  readonly endTimeUnixNano: string;
  readonly attributes?: readonly Attribute[];
  readonly events?: readonly { readonly name: string; readonly attributes?: readonly Attribute[] }[];
  readonly links?: readonly { readonly traceId: string; readonly spanId: string }[];
  readonly status?: { readonly code?: number; readonly message?: string };
}

export interface CollectedMetric {
  readonly name: string;
  readonly sum?: { readonly dataPoints: readonly CollectedPoint[] };
  readonly gauge?: { readonly dataPoints: readonly CollectedPoint[] };
  readonly histogram?: { readonly dataPoints: readonly { readonly count: number | string }[] };
}

interface CollectedPoint {
  readonly attributes: readonly Attribute[];
  readonly asDouble?: number;
}

interface Export {
  readonly resourceSpans?: readonly { readonly scopeSpans: readonly { readonly spans: readonly CollectedSpan[] }[] }[];
  readonly resourceMetrics?: readonly {
    readonly resource: { readonly attributes: readonly Attribute[] };
    readonly scopeMetrics: readonly { readonly metrics: readonly CollectedMetric[] }[];
  }[];
}

/** What an attribute's value is, whatever its type. */
export function attributesOf({
  attributes = [],
}: {
  readonly attributes?: readonly Attribute[];
}): Record<string, unknown> {
  return Object.fromEntries(attributes.map(({ key, value }) => [key, Object.values(value)[0]]));
}

/** Takes traces and metrics by OTLP/HTTP. Spans, and the metrics of the last export, are kept of what comes as JSON. */
export class Collector implements AsyncDisposable {
  readonly spans: CollectedSpan[] = [];
  metrics: CollectedMetric[] = [];
  /** Of the last export of metrics. */
  resource: Record<string, unknown> = {};
  /** Each export as it came. */
  readonly exports: { readonly path: string; readonly type: string; readonly body: Buffer }[] = [];
  readonly #server: Server;

  private constructor() {
    this.#server = createServer((request, response) => void this.#take(request, response));
  }

  static async start(): Promise<Collector> {
    const collector = new Collector();
    collector.#server.listen(0, '127.0.0.1');
    await once(collector.#server, 'listening');
    return collector;
  }

  /** What makes a streamer send everything here, in JSON. */
  get environment(): Record<string, string> {
    return { OTEL_EXPORTER_OTLP_ENDPOINT: this.url, OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json' };
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async #take(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { url: path = '', headers } = request;
    const { 'content-type': type = '', 'content-encoding': encoding } = headers;
    const body = await buffer(encoding === 'gzip' ? request.pipe(createGunzip()) : request);
    this.exports.push({ path, type, body });
    if (type === 'application/json') this.#keep(JSON.parse(body.toString()) as Export);
    response.writeHead(200, { 'content-type': 'application/json' }).end('{}');
  }

  #keep({ resourceSpans = [], resourceMetrics = [] }: Export): void {
    for (const { scopeSpans } of resourceSpans) for (const { spans } of scopeSpans) this.spans.push(...spans);
    for (const { resource, scopeMetrics } of resourceMetrics) {
      this.resource = attributesOf(resource);
      this.metrics = scopeMetrics.flatMap(({ metrics }) => metrics);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }
}
