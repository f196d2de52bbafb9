import { ValueType, type HrTime } from '@opentelemetry/api';
import { RuntimeNodeInstrumentation } from '@opentelemetry/instrumentation-runtime-node';
import { emptyResource } from '@opentelemetry/resources';
import {
  AggregationTemporality,
  DataPointType,
  MeterProvider,
  PeriodicExportingMetricReader,
  type Histogram as HistogramValue,
  type MetricData,
  type MetricProducer,
  type MetricReader,
} from '@opentelemetry/sdk-metrics';
import { PACKAGE_NAME } from '../../package.ts';
import type { Histogram } from '../observe/histogram.ts';
import { METRICS } from './metrics-table.ts';
import type { Metric } from './metrics.ts';
import type { Env, OtlpProtocol } from './otlp.ts';
import { PrometheusReader } from './prometheus.ts';
import { streamerResource } from './resource.ts';
import type { Readiness } from '../observe/readiness.ts';

export interface Metering {
  /** All metrics in Prometheus' text format. */
  text(): Promise<string>;
  /** Where it is pushed, pushes a last time. */
  stop(): Promise<void>;
}

/**
 * Makes the metrics of the table: what `readiness` holds is read whenever somebody asks.
 *
 * @param protocol pushes them by OTLP as well, to where the OTEL_* variables say
 */
export async function startMetering(
  readiness: Readiness,
  slot: string,
  protocol: OtlpProtocol | undefined,
  env: Env,
): Promise<Metering> {
  const table = new TableProducer(readiness);
  const prometheus = new PrometheusReader(table);
  const readers: MetricReader[] = [prometheus];
  if (protocol !== undefined) readers.push(await pushReader(protocol, table, env));
  const provider = new MeterProvider({ resource: streamerResource(slot), readers });
  const runtime = new RuntimeNodeInstrumentation();
  runtime.setMeterProvider(provider);
  return {
    text: async () => prometheus.text(),
    async stop() {
      runtime.disable();
      await provider.shutdown();
    },
  };
}

async function pushReader(protocol: OtlpProtocol, producer: MetricProducer, env: Env): Promise<MetricReader> {
  const { OTLPMetricExporter } = await (protocol === 'http/json'
    ? import('@opentelemetry/exporter-metrics-otlp-http')
    : import('@opentelemetry/exporter-metrics-otlp-proto'));
  const exportIntervalMillis = Number(env['OTEL_METRIC_EXPORT_INTERVAL']) || 60_000;
  return new PeriodicExportingMetricReader({
    exporter: new OTLPMetricExporter(),
    metricProducers: [producer],
    exportIntervalMillis,
    exportTimeoutMillis: Math.min(exportIntervalMillis, Number(env['OTEL_METRIC_EXPORT_TIMEOUT']) || 30_000),
  });
}

/**
 * The metrics of the table. Not as instruments of the SDK: those go on reporting what was last said of what is not known any
 * more, and a histogram takes single values only, where one entry for a whole transaction is exact and cheap.
 */
class TableProducer implements MetricProducer {
  readonly #readiness: Readiness;
  readonly #startTime = now();

  constructor(readiness: Readiness) {
    this.#readiness = readiness;
  }

  async collect(): ReturnType<MetricProducer['collect']> {
    const scopeMetrics = [{ scope: { name: PACKAGE_NAME }, metrics: METRICS.flatMap((metric) => this.#data(metric)) }];
    return { resourceMetrics: { resource: emptyResource(), scopeMetrics }, errors: [] };
  }

  #data(metric: Metric): MetricData[] {
    const { name, unit, help: description } = metric;
    const common = {
      descriptor: { name, unit, description, valueType: ValueType.DOUBLE },
      aggregationTemporality: AggregationTemporality.CUMULATIVE,
    };
    const times = { startTime: this.#startTime, endTime: now() };
    if (metric.read === undefined) return [];
    if (metric.kind === 'histogram') {
      const value = valueOf(metric.read(this.#readiness));
      const attributes = Object.fromEntries(
        Object.entries(metric.attributes ?? {}).map(([attribute, [only]]) => [attribute, only!]),
      );
      return [{ ...common, dataPointType: DataPointType.HISTOGRAM, dataPoints: [{ ...times, attributes, value }] }];
    }
    const dataPoints = Array.from(metric.read(this.#readiness), ([value, attributes = {}]) => ({
      ...times,
      attributes,
      value,
    }));
    if (dataPoints.length === 0) return [];
    return metric.kind === 'counter'
      ? [{ ...common, dataPointType: DataPointType.SUM, isMonotonic: true, dataPoints }]
      : [{ ...common, dataPointType: DataPointType.GAUGE, dataPoints }];
  }
}

function valueOf({ bounds, counts, sum, count }: Histogram): HistogramValue {
  return { buckets: { boundaries: [...bounds], counts: [...counts] }, sum, count };
}

function now(): HrTime {
  const ms = Date.now();
  return [Math.floor(ms / 1000), (ms % 1000) * 1_000_000];
}
