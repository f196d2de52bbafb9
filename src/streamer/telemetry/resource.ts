import {
  defaultResource,
  detectResources,
  envDetector,
  hostDetector,
  resourceFromAttributes,
  serviceInstanceIdDetector,
  type Resource,
} from '@opentelemetry/resources';
import { PACKAGE_NAME } from '../../package.ts';
import { SLOT_ATTRIBUTE } from './metrics.ts';

/** Who sends traces and metrics: what the OTEL_* variables say wins. */
export function streamerResource(slot: string): Resource {
  const detectors = [hostDetector, serviceInstanceIdDetector, envDetector];
  return defaultResource()
    .merge(resourceFromAttributes({ 'service.name': PACKAGE_NAME, [SLOT_ATTRIBUTE]: slot }))
    .merge(detectResources({ detectors }));
}
