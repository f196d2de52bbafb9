import { MAX_TRACE_LINKS } from '../settings.ts';
import { otlpProtocol, type Env, type OtlpProtocol } from './otlp.ts';
import type { Readiness } from '../observe/readiness.ts';

export interface Telemetry {
  /** All metrics in Prometheus' text format; undefined when nobody can ask for them. */
  readonly metrics: (() => Promise<string>) | undefined;
  /** Sends the buffered spans and metrics. Never throws, and returns soon also when no collector answers. */
  stop(): Promise<void>;
}

export interface TelemetryOptions {
  readonly readiness: Readiness;
  readonly slot: string;
  /** Whether `metrics` will be asked for. */
  readonly isServed: boolean;
}

const EXPORT_TIMEOUT_MS = 3000;
/** A span of a batch may have 512 links: without a collector, the usual 2,048 spans would be hundreds of megabytes. */
const QUEUE = { maxQueueSize: 128, maxExportBatchSize: 32 };

/**
 * Starts what of the OpenTelemetry SDK is wanted, by the standard OTEL_* variables or for the health port; the rest is not even
 * loaded. To be called before anything that makes spans. Throws OUTBOX_CONFIG_INVALID.
 */
export async function startTelemetry(env: Env, { readiness, slot, isServed }: TelemetryOptions): Promise<Telemetry> {
  const protocols = { traces: otlpProtocol(env, 'TRACES'), metrics: otlpProtocol(env, 'METRICS') };
  const stopTracing = protocols.traces === undefined ? undefined : await startTracing(protocols.traces, slot);
  const metering =
    isServed || protocols.metrics !== undefined
      ? await (await import('./meter.ts')).startMetering(readiness, slot, protocols.metrics, env)
      : undefined;
  return {
    metrics: metering === undefined ? undefined : async () => metering.text(),
    stop: async () => soon(Promise.allSettled([stopTracing?.(), metering?.stop()])),
  };
}

async function startTracing(protocol: OtlpProtocol, slot: string): Promise<() => Promise<void>> {
  const [{ NodeSDK }, { BatchSpanProcessor }, { OTLPTraceExporter }, { streamerResource }] = await Promise.all([
    import('@opentelemetry/sdk-node'),
    import('@opentelemetry/sdk-trace'),
    protocol === 'http/json'
      ? import('@opentelemetry/exporter-trace-otlp-http')
      : import('@opentelemetry/exporter-trace-otlp-proto'),
    import('./resource.ts'),
  ]);
  const sdk = new NodeSDK({
    resource: streamerResource(slot),
    autoDetectResources: false,
    spanProcessors: [new BatchSpanProcessor({ exporter: new OTLPTraceExporter(), ...QUEUE })],
    // what is beyond the limit would be dropped without a word
    spanLimits: { linkCountLimit: MAX_TRACE_LINKS },
    metricReaders: [],
    logRecordProcessors: [],
  });
  sdk.start();
  return async () => sdk.shutdown();
}

/** Waits for an export, but not long: a collector that is gone must not hold up a stop. */
async function soon(exported: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, EXPORT_TIMEOUT_MS);
  });
  await Promise.race([exported, late]);
  clearTimeout(timer);
}
