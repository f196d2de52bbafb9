import { PrometheusSerializer } from '@opentelemetry/exporter-prometheus';
import { DataPointType, MetricReader, type MetricData, type MetricProducer } from '@opentelemetry/sdk-metrics';
import { prometheusName, SLOT_ATTRIBUTE } from './metrics.ts';

const SLOT = new RegExp(`^${SLOT_ATTRIBUTE.replaceAll('.', String.raw`\.`)}$`);

/** Collects when it is asked to. */
export class PrometheusReader extends MetricReader {
  readonly #serializer = new PrometheusSerializer('', false, SLOT, false, true);

  constructor(producer: MetricProducer) {
    super({ metricProducers: [producer] });
  }

  /** What there is to know now, in Prometheus' text format 0.0.4. */
  async text(): Promise<string> {
    const { resourceMetrics } = await this.collect();
    const scopeMetrics = resourceMetrics.scopeMetrics.map(({ scope, metrics }) => ({
      scope,
      metrics: metrics.map(renamed),
    }));
    return this.#serializer.serialize({ ...resourceMetrics, scopeMetrics });
  }

  protected override async onShutdown(): Promise<void> {}

  protected override async onForceFlush(): Promise<void> {}
}

/** The serializer leaves units out of names, and a UCUM unit in a comment that Prometheus does not know. */
function renamed(data: MetricData): MetricData {
  const { name, unit } = data.descriptor;
  const kind =
    data.dataPointType === DataPointType.SUM && data.isMonotonic
      ? 'counter'
      : data.dataPointType === DataPointType.HISTOGRAM
        ? 'histogram'
        : 'gauge';
  return { ...data, descriptor: { ...data.descriptor, name: prometheusName({ name, unit, kind }), unit: '' } };
}
