import type { JsonSchema } from './json-schema.ts';

export type Scalar = 'string' | 'number' | 'integer' | 'boolean';

/** What may stand at one place of a context, over all versions of a type. */
export interface Shape {
  readonly scalars: ReadonlySet<Scalar>;
  readonly mayBeNull: boolean;
  /** Of a string, where all versions agree: date-time or date. */
  readonly format: string | undefined;
  /** Of strings, where they are listed. */
  readonly values: readonly string[] | undefined;
  /** Decimal places, where every number is a multiple of such a fraction. */
  readonly decimals: number | undefined;
  readonly object: ObjectShape | undefined;
  readonly items: Shape | undefined;
  /** Nothing is said about it. */
  readonly isAnything: boolean;
  readonly description: string | undefined;
}

export interface ObjectShape {
  readonly fields: ReadonlyMap<string, { readonly shape: Shape; readonly isRequired: boolean }>;
  /** It has keys that are named nowhere: a record. */
  readonly isOpen: boolean;
}

const NOTHING: Shape = {
  scalars: new Set(),
  mayBeNull: false,
  format: undefined,
  values: undefined,
  decimals: undefined,
  object: undefined,
  items: undefined,
  isAnything: false,
  description: undefined,
};
const ANYTHING: Shape = { ...NOTHING, isAnything: true };
const SCALARS: readonly string[] = ['string', 'number', 'integer', 'boolean'] satisfies Scalar[];
const MOST_DECIMALS = 9;

/** Reads a JSON Schema without references. */
export function shapeOf(schema: JsonSchema | boolean): Shape {
  if (typeof schema === 'boolean') return ANYTHING;
  const own = ownShape(schema);
  const { allOf = [], anyOf, oneOf } = schema;
  const parts = allOf.map(shapeOf);
  const choices = anyOf ?? oneOf;
  if (choices !== undefined) parts.push(choices.map(shapeOf).reduce(eitherOf));
  const whole = parts.reduce(bothOf, own);
  return { ...whole, description: schema.description ?? schema.title ?? whole.description };
}

function ownShape(schema: JsonSchema): Shape {
  const listed = schema.enum ?? ('const' in schema ? [schema.const] : undefined);
  const given = typeof schema.type === 'string' ? [schema.type] : schema.type;
  const types = given ?? (listed && [...new Set(listed.map(typeOf))]) ?? (schema.properties ? ['object'] : undefined);
  if (types === undefined) return ANYTHING;
  const strings = listed?.filter((value) => typeof value === 'string');
  return {
    ...NOTHING,
    scalars: new Set(types.filter((type): type is Scalar => SCALARS.includes(type))),
    mayBeNull: types.includes('null'),
    format: schema.format,
    values: types.includes('string') ? strings : undefined,
    decimals: decimalsOf(schema.multipleOf),
    object: types.includes('object') ? objectOf(schema) : undefined,
    items: types.includes('array') ? shapeOf(schema.items ?? true) : undefined,
  };
}

function typeOf(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'array';
  if (typeof value === 'number') return Number.isInteger(value) ? 'integer' : 'number';
  return typeof value;
}

/** 2 for 0.01; undefined for what is no power of ten below one. */
function decimalsOf(multipleOf: number | undefined): number | undefined {
  const decimals = Array.from({ length: MOST_DECIMALS }, (_, index) => index + 1);
  return decimals.find((places) => Number(`1e-${places}`) === multipleOf);
}

function objectOf({ properties = {}, required = [], additionalProperties }: JsonSchema): ObjectShape {
  const fields = Object.entries(properties).map(
    ([key, schema]) => [key, { shape: shapeOf(schema), isRequired: required.includes(key) }] as const,
  );
  // libraries leave additionalProperties out where they drop or let through what is not named
  const isOpen = typeof additionalProperties === 'object' || fields.length === 0;
  return { fields: new Map(fields), isOpen };
}

/** What is one or the other: a union, or two versions of a type. */
export function eitherOf(one: Shape, other: Shape): Shape {
  const same = <T>(get: (shape: Shape) => T): T | undefined => (get(one) === get(other) ? get(one) : undefined);
  const hasStrings = [one, other].filter(({ scalars }) => scalars.has('string'));
  const hasNumbers = [one, other].filter(({ scalars }) => scalars.has('number') || scalars.has('integer'));
  const values = hasStrings.flatMap((shape) => shape.values ?? []);
  return {
    scalars: new Set([...one.scalars, ...other.scalars]),
    mayBeNull: one.mayBeNull || other.mayBeNull,
    format: hasStrings.length < 2 ? hasStrings[0]?.format : same(({ format }) => format),
    values: hasStrings.some((shape) => shape.values === undefined) ? undefined : [...new Set(values)],
    decimals: hasNumbers.length < 2 ? hasNumbers[0]?.decimals : same(({ decimals }) => decimals),
    object: merged(one.object, other.object, (a, b) => a && b),
    items: one.items && other.items ? eitherOf(one.items, other.items) : (one.items ?? other.items),
    isAnything: one.isAnything || other.isAnything,
    description: other.description ?? one.description,
  };
}

/** What is both at once: an intersection. */
function bothOf(one: Shape, other: Shape): Shape {
  if (one.isAnything) return other;
  if (other.isAnything) return one;
  return { ...eitherOf(one, other), object: merged(one.object, other.object, (a, b) => a || b) };
}

function merged(
  one: ObjectShape | undefined,
  other: ObjectShape | undefined,
  required: (one: boolean, other: boolean) => boolean,
): ObjectShape | undefined {
  if (one === undefined || other === undefined) return one ?? other;
  const keys = new Set([...one.fields.keys(), ...other.fields.keys()]);
  const fields = [...keys].map((key) => {
    const [a, b] = [one.fields.get(key), other.fields.get(key)];
    const isRequired = required(a?.isRequired ?? false, b?.isRequired ?? false);
    const shape = a && b ? eitherOf(a.shape, b.shape) : (a ?? b)!.shape;
    return [key, { shape, isRequired }] as const;
  });
  return { fields: new Map(fields), isOpen: one.isOpen || other.isOpen };
}
