import { FLOW } from './metrics-flow.ts';
import { REPLICAS } from './metrics-replicas.ts';
import { STORES } from './metrics-stores.ts';
import type { Metric } from './metrics.ts';

/** Every metric there is. What is sent (meter.ts), docs/metrics.md and the checks of deploy/ all come from this table. */
export const METRICS: readonly Metric[] = [...FLOW, ...STORES, ...REPLICAS];
