import { PACKAGE_NAME } from '../../package.ts';
import { MAX_PRODUCERS } from '../batch/producers.ts';

/** Any of these says that somebody wants traces; without them the SDK is not even loaded. */
const WANTED = ['OTEL_EXPORTER_OTLP_ENDPOINT', 'OTEL_EXPORTER_OTLP_TRACES_ENDPOINT'];

export interface Telemetry {
  /** Sends what is buffered. Never throws, and returns soon also when no collector answers. */
  stop(): Promise<void>;
}

const EXPORT_TIMEOUT_MS = 3000;
/** A span of a batch may have 512 links: without a collector, the usual 2,048 spans would be hundreds of megabytes. */
const QUEUE = { maxQueueSize: 128, maxExportBatchSize: 32 };

/**
 * Starts the OpenTelemetry SDK, which sends traces by OTLP/HTTP in JSON, when the standard OTEL_* variables name an endpoint. To
 * be called before anything that makes spans.
 *
 * https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
 */
export async function startTelemetry(env: Readonly<Record<string, string | undefined>>): Promise<Telemetry> {
  if (env['OTEL_SDK_DISABLED'] === 'true' || !WANTED.some((name) => env[name])) return { stop: async () => undefined };
  const [{ NodeSDK }, { BatchSpanProcessor }, { OTLPTraceExporter }] = await Promise.all([
    import('@opentelemetry/sdk-node'),
    import('@opentelemetry/sdk-trace'),
    import('@opentelemetry/exporter-trace-otlp-http'),
  ]);
  const sdk = new NodeSDK({
    ...(env['OTEL_SERVICE_NAME'] ? {} : { serviceName: PACKAGE_NAME }),
    spanProcessors: [new BatchSpanProcessor({ exporter: new OTLPTraceExporter(), ...QUEUE })],
    // what is beyond the limit would be dropped without a word
    spanLimits: { linkCountLimit: MAX_PRODUCERS },
    metricReaders: [],
    logRecordProcessors: [],
  });
  sdk.start();
  return {
    async stop() {
      const late = new Promise<void>((resolve) => {
        setTimeout(resolve, EXPORT_TIMEOUT_MS).unref();
      });
      await Promise.race([sdk.shutdown().catch(() => undefined), late]);
    },
  };
}
