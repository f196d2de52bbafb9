import { expect, test } from 'vitest';
import { OutboxError } from '../../errors.ts';
import { otlpProtocol, type Env } from './otlp.ts';

const ENDPOINT = { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://collector:4318' };

const WANTED: readonly [string, Env, string | undefined, string | undefined][] = [
  ['nothing set', {}, undefined, undefined],
  ['an endpoint', ENDPOINT, 'http/protobuf', 'http/protobuf'],
  ['an endpoint for traces', { OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'http://c' }, 'http/protobuf', undefined],
  ['an endpoint for metrics', { OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: 'http://c' }, undefined, 'http/protobuf'],
  ['a protocol', { ...ENDPOINT, OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json' }, 'http/json', 'http/json'],
  [
    'a protocol for traces, which wins',
    { ...ENDPOINT, OTEL_EXPORTER_OTLP_PROTOCOL: 'http/protobuf', OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: 'http/json' },
    'http/json',
    'http/protobuf',
  ],
  ['no traces', { ...ENDPOINT, OTEL_TRACES_EXPORTER: 'none' }, undefined, 'http/protobuf'],
  ['no metrics', { ...ENDPOINT, OTEL_METRICS_EXPORTER: 'none' }, 'http/protobuf', undefined],
  ['metrics by Prometheus alone', { ...ENDPOINT, OTEL_METRICS_EXPORTER: 'prometheus' }, 'http/protobuf', undefined],
  ['metrics by Prometheus and OTLP', { OTEL_METRICS_EXPORTER: 'prometheus, otlp' }, undefined, 'http/protobuf'],
  ['the exporter named, at its usual endpoint', { OTEL_TRACES_EXPORTER: 'otlp' }, 'http/protobuf', undefined],
  ['the SDK disabled', { ...ENDPOINT, OTEL_SDK_DISABLED: 'true' }, undefined, undefined],
  ['a protocol without an endpoint', { OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc' }, undefined, undefined],
];

test.each(WANTED)('otlpProtocol chooses the protocols of traces and metrics for %s', (_, env, traces, metrics) => {
  expect(otlpProtocol(env, 'TRACES')).toBe(traces);
  expect(otlpProtocol(env, 'METRICS')).toBe(metrics);
});

test.each([
  [{ ...ENDPOINT, OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc' }, 'OTEL_EXPORTER_OTLP_PROTOCOL must be'],
  [{ ...ENDPOINT, OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: 'grpc' }, 'OTEL_EXPORTER_OTLP_TRACES_PROTOCOL must be'],
  [{ OTEL_TRACES_EXPORTER: 'zipkin' }, 'OTEL_TRACES_EXPORTER must be otlp or none'],
])('otlpProtocol rejects %o', (env, problem) => {
  expect(() => otlpProtocol(env, 'TRACES')).toThrow(OutboxError);
  expect(() => otlpProtocol(env, 'TRACES')).toThrow(problem);
});
