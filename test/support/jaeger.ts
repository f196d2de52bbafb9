import { json } from 'node:stream/consumers';
import type { CollectedSpan } from './collector.ts';

interface Reference {
  readonly refType: 'CHILD_OF' | 'FOLLOWS_FROM';
  readonly traceID: string;
  readonly spanID: string;
}

interface JaegerSpan {
  readonly traceID: string;
  readonly spanID: string;
  readonly operationName: string;
  readonly references: readonly Reference[];
  /** µs */
  readonly startTime: number;
  readonly duration: number;
  readonly tags: readonly { readonly key: string; readonly value: unknown }[];
}

const KINDS = ['', 'internal', 'server', 'client', 'producer', 'consumer'];

/** The spans of a trace that Jaeger has, as OTLP would have them; none while it does not know it. */
export async function jaegerSpans(url: string, traceId: string): Promise<CollectedSpan[]> {
  const response = await fetch(new URL(`/api/traces/${traceId}`, url));
  if (response.status === 404) return [];
  const { data } = (await json(response.body!)) as { data: readonly { readonly spans: readonly JaegerSpan[] }[] };
  return data.flatMap(({ spans }) => spans.map(spanOf));
}

/** A parent and the links are all references to Jaeger: the parent is the one that the span is a child of, in its own trace. */
export function spanOf(span: JaegerSpan): CollectedSpan {
  const { traceID: traceId, spanID: spanId, operationName: name, references, startTime, duration, tags } = span;
  const parent = references.find((each) => each.refType === 'CHILD_OF' && each.traceID === traceId);
  const tagged = Object.fromEntries(tags.map(({ key, value }) => [key, value]));
  return {
    traceId,
    spanId,
    ...(parent === undefined ? {} : { parentSpanId: parent.spanID }),
    name,
    kind: KINDS.findIndex((kind) => kind === (tagged['span.kind'] ?? 'internal')),
    startTimeUnixNano: `${startTime}000`,
    endTimeUnixNano: `${startTime + duration}000`,
    attributes: tags.map(({ key, value }) => ({ key, value: { value } })),
    links: references.filter((each) => each !== parent).map((each) => ({ traceId: each.traceID, spanId: each.spanID })),
  };
}
