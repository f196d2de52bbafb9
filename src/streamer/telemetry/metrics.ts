import type { Histogram } from '../observe/histogram.ts';
import type { Readiness } from '../observe/readiness.ts';

export type Attributes = Readonly<Record<string, string>>;
export type Point = readonly [value: number, attributes?: Attributes];

interface Described {
  /** By the conventions of OpenTelemetry; `prometheusName` makes the other one of it. */
  readonly name: string;
  /** UCUM: `s`, `By`, `1`, an annotation such as `{event}`, or none. */
  readonly unit: string;
  readonly help: string;
  /** Every attribute with every value that it can have: the number of series is known. */
  readonly attributes?: Readonly<Record<string, readonly string[]>>;
}

interface NumberMetric extends Described {
  readonly kind: 'counter' | 'gauge';
  /** What there is to say now; nothing for what is not known. Without it, it is made by the runtime's instrumentation. */
  readonly read?: (readiness: Readiness) => Iterable<Point>;
}

interface HistogramMetric extends Described {
  readonly kind: 'histogram';
  /** What `read` gives is of the only value of each attribute. */
  readonly read?: (readiness: Readiness) => Histogram;
}

export type Metric = NumberMetric | HistogramMetric;

/** The attribute of all of them, on the resource: what tells streamers of several slots apart. */
export const SLOT_ATTRIBUTE = 'outbox.slot';

const UNIT_WORDS: Readonly<Record<string, string>> = { s: 'seconds', By: 'bytes' };

/**
 * A metric's name in Prometheus, with its unit, and `_total` where it is a counter. A histogram has `_bucket`, `_sum` and
 * `_count` behind it.
 *
 * https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/
 */
export function prometheusName({ name, unit, kind }: Pick<Metric, 'name' | 'unit' | 'kind'>): string {
  const word = unit === '1' && kind === 'gauge' ? 'ratio' : UNIT_WORDS[unit];
  return `${prometheusLabel(name)}${word === undefined ? '' : `_${word}`}${kind === 'counter' ? '_total' : ''}`;
}

export function prometheusLabel(attribute: string): string {
  return attribute.replaceAll('.', '_');
}
