import { OutboxError } from '../../errors.ts';

export type Env = Readonly<Record<string, string | undefined>>;

export type OtlpProtocol = 'http/json' | 'http/protobuf';

const PROTOCOLS: readonly string[] = ['http/protobuf', 'http/json'];
/** What the variable of exporters may name. Prometheus needs no exporter: the health port serves it. */
const EXPORTERS = { TRACES: ['otlp'], METRICS: ['otlp', 'prometheus'] };

/**
 * How a signal is to be exported by the standard OTEL_* variables; undefined when nobody wants it: no endpoint is named, or the
 * exporter is `none`. Throws OUTBOX_CONFIG_INVALID for what this program cannot do: it would rather not start than send elsewhere
 * or otherwise than it was told.
 *
 * https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
 */
export function otlpProtocol(env: Env, signal: keyof typeof EXPORTERS): OtlpProtocol | undefined {
  if (env['OTEL_SDK_DISABLED']?.trim().toLowerCase() === 'true') return undefined;
  const problems: string[] = [];
  const exporters = list(env[`OTEL_${signal}_EXPORTER`]);
  const unknown = exporters.filter((name) => name !== 'none' && !EXPORTERS[signal].includes(name));
  if (unknown.length > 0) problems.push(`OTEL_${signal}_EXPORTER must be ${EXPORTERS[signal].join(', ')} or none`);
  const own = `OTEL_EXPORTER_OTLP_${signal}_PROTOCOL`;
  const name = env[own] ? own : 'OTEL_EXPORTER_OTLP_PROTOCOL';
  const protocol = env[name]?.trim() || 'http/protobuf';
  const isEndpointNamed = Boolean(env['OTEL_EXPORTER_OTLP_ENDPOINT'] || env[`OTEL_EXPORTER_OTLP_${signal}_ENDPOINT`]);
  const isWanted = exporters.length === 0 ? isEndpointNamed : exporters.includes('otlp');
  if (isWanted && !PROTOCOLS.includes(protocol)) problems.push(`${name} must be one of ${PROTOCOLS.join(', ')}`);
  if (problems.length > 0) throw new OutboxError('OUTBOX_CONFIG_INVALID', { problems });
  return isWanted ? (protocol as OtlpProtocol) : undefined;
}

function list(value: string | undefined): string[] {
  return (value ?? '')
    .split(',')
    .map((name) => name.trim())
    .filter(Boolean);
}
