import type { JsonSchema } from './json-schema.ts';
import { schemaOfValibot } from './valibot.ts';

/** Dates are written as JSON.stringify writes them, and what JSON Schema cannot tell is `{}`: each library has its way to say so. */
const LIBRARY_OPTIONS: Readonly<Record<string, object>> = {
  zod: {
    unrepresentable: 'any',
    override: ({ zodSchema, jsonSchema }: { zodSchema: ZodSchema; jsonSchema: Record<string, unknown> }): void => {
      if (zodSchema._zod.def.type === 'date') Object.assign(jsonSchema, DATE);
    },
  },
  arktype: {
    fallback: {
      date: ({ base }: { base: object }): object => ({ ...base, ...DATE }),
      default: ({ base }: { base: object }): object => base,
    },
  },
};
const DATE = { type: 'string', format: 'date-time' };

interface ZodSchema {
  readonly _zod: { readonly def: { readonly type: string } };
}

/** https://standardschema.dev/json-schema: how a library tells the JSON Schema of what a schema gives. */
interface StandardJsonSchema {
  readonly vendor: string;
  readonly jsonSchema?: {
    readonly output: (options: { readonly target: string; readonly libraryOptions?: object }) => JsonSchema;
  };
}

/**
 * The JSON Schema (draft 2020-12) of what a Standard Schema gives, without references; undefined where its library has none. Throws what
 * the library throws.
 */
export function jsonSchemaOf(schema: unknown): JsonSchema | undefined {
  const { vendor, jsonSchema } = (schema as { readonly '~standard': StandardJsonSchema })['~standard'];
  if (jsonSchema === undefined) return vendor === 'valibot' ? schemaOfValibot(schema) : undefined;
  const libraryOptions = LIBRARY_OPTIONS[vendor];
  const whole = jsonSchema.output({ target: 'draft-2020-12', ...(libraryOptions && { libraryOptions }) });
  const { $schema: _, $defs: __, ...own } = inlined(whole, whole, []) as JsonSchema;
  return own;
}

/** Each reference is replaced by what it refers to. One that leads to itself ends as `{}`: no column has its depth. */
function inlined(value: unknown, root: JsonSchema, within: readonly string[]): unknown {
  if (Array.isArray(value)) return value.map((item) => inlined(item, root, within));
  if (typeof value !== 'object' || value === null) return value;
  const { $ref, ...rest } = value as JsonSchema;
  const entries = (of: object, path: readonly string[]): object =>
    Object.fromEntries(
      Object.entries(of).map(([key, inner]) => [key, key === '$defs' ? inner : inlined(inner, root, path)]),
    );
  if (typeof $ref !== 'string') return entries(value, within);
  if (within.includes($ref)) return rest;
  const target = targetOf($ref, root);
  return { ...(inlined(target, root, [...within, $ref]) as object), ...entries(rest, within) };
}

function targetOf(reference: string, root: JsonSchema): unknown {
  const steps = reference.replace(/^#\/?/, '').split('/').filter(Boolean);
  return (
    steps.reduce<unknown>((at, step) => {
      const key = decodeURIComponent(step).replaceAll('~1', '/').replaceAll('~0', '~');
      return typeof at === 'object' && at !== null ? Reflect.get(at, key) : undefined;
    }, root) ?? {}
  );
}
