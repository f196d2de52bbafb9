import type { JsonSchema } from './json-schema.ts';

/** What valibot's schemas and the items of a pipe are made of: plain data. */
interface Node {
  readonly kind: string;
  readonly type: string;
  readonly [field: string]: unknown;
}

const FORMATS: Readonly<Record<string, JsonSchema>> = {
  iso_date: { format: 'date' },
  iso_date_time: { format: 'date-time' },
  iso_timestamp: { format: 'date-time' },
  email: { format: 'email' },
  uuid: { format: 'uuid' },
  url: { format: 'uri' },
  integer: { type: 'integer' },
  safe_integer: { type: 'integer' },
};
const CONVERSIONS: Readonly<Record<string, JsonSchema>> = {
  to_string: { type: 'string' },
  to_number: { type: 'number' },
  to_boolean: { type: 'boolean' },
  to_date: { type: 'string', format: 'date-time' },
};
/** They change a value, and its type as little as it can be told here. */
const UNKNOWN = ['transform', 'raw_transform', 'parse_json', 'args', 'returns'];
const LEAVES: Readonly<Record<string, JsonSchema>> = {
  string: { type: 'string' },
  number: { type: 'number' },
  boolean: { type: 'boolean' },
  null: { type: 'null' },
  // as JSON.stringify writes it
  date: { type: 'string', format: 'date-time' },
};
const OBJECTS = ['object', 'loose_object', 'strict_object', 'object_with_rest'];
const MAY_BE_ABSENT = ['optional', 'exact_optional', 'nullish', 'undefinedable', 'undefined'];

/** The JSON Schema of what a valibot schema gives: valibot itself has none. What JSON Schema cannot tell is `{}`. */
export function schemaOfValibot(schema: unknown, within: readonly unknown[] = []): JsonSchema {
  // a lazy schema that holds itself
  if (within.includes(schema)) return {};
  const node = schema as Node;
  const convert = (inner: unknown): JsonSchema => schemaOfValibot(inner, [...within, schema]);
  const [, ...steps] = (node['pipe'] as readonly Node[] | undefined) ?? [];
  return steps.reduce((before, step) => piped(before, step, convert), bare(node, convert));
}

function piped(before: JsonSchema, step: Node, convert: (inner: unknown) => JsonSchema): JsonSchema {
  if (step.kind === 'schema') return convert(step);
  if (step.kind === 'metadata')
    return step.type === 'title' || step.type === 'description' ? { ...before, [step.type]: step[step.type] } : before;
  if (step.kind === 'transformation' && UNKNOWN.includes(step.type)) return {};
  if (step.type === 'multiple_of') return { ...before, multipleOf: step['requirement'] as number };
  return { ...before, ...CONVERSIONS[step.type], ...FORMATS[step.type] };
}

function bare(node: Node, convert: (inner: unknown) => JsonSchema): JsonSchema {
  const leaf = LEAVES[node.type];
  if (leaf !== undefined) return leaf;
  const options = (node['options'] ?? []) as readonly unknown[];
  if (OBJECTS.includes(node.type)) return object(node['entries'] as Record<string, Node>, convert);
  switch (node.type) {
    case 'literal':
      return { const: node['literal'] };
    case 'picklist':
    case 'enum':
      return { enum: [...options] };
    case 'array':
      return { type: 'array', items: convert(node['item']) };
    case 'tuple':
    case 'loose_tuple':
    case 'strict_tuple':
    case 'tuple_with_rest':
      return { type: 'array', items: { anyOf: (node['items'] as readonly unknown[]).map(convert) } };
    case 'record':
      return { type: 'object', additionalProperties: convert(node['value']) };
    case 'union':
    case 'variant':
      return { anyOf: options.map(convert) };
    case 'intersect':
      return { allOf: options.map(convert) };
    case 'nullable':
    case 'nullish':
      return { anyOf: [convert(node['wrapped']), { type: 'null' }] };
    case 'lazy':
      return convert((node['getter'] as (input: undefined) => unknown)(undefined));
    default:
      return node['wrapped'] === undefined ? {} : convert(node['wrapped']);
  }
}

function object(entries: Record<string, Node>, convert: (inner: unknown) => JsonSchema): JsonSchema {
  const properties = Object.fromEntries(Object.entries(entries).map(([key, entry]) => [key, convert(entry)]));
  // an optional one with a default is there in what the schema gives
  const isOptional = (entry: Node): boolean => MAY_BE_ABSENT.includes(entry.type) && entry['default'] === undefined;
  const required = Object.keys(entries).filter((key) => !isOptional(entries[key]!));
  return { type: 'object', properties, required };
}
