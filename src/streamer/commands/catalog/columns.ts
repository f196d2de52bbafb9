import { Names, snakeCase } from './names.ts';
import type { ObjectShape, Shape } from './shape.ts';

/** Columns that each view has beside those of the context: what of the table's a reader of one type asks for. */
export const EVENT_COLUMNS: Readonly<Record<string, string>> = {
  event_id: 'The event’s id, a UUIDv7 unless the application gave another.',
  event_date_time: 'When it happened, by the application’s clock.',
  environment: 'Where it happened.',
  subject: 'Who or what it is about.',
  metadata_version: 'The version of its context.',
  committed_at: 'When its transaction committed.',
  recorded_at: 'When Postgres took it.',
  recorded_by: 'Which database role wrote it.',
  trace_id: 'The trace that it belongs to; empty for none.',
};

/** What a view asks the table for: a column of that name would stand in its place. */
const ASKED_FOR = ['event_type', 'event_context', 'event_context_text'];

/** How a value is read: `json` is the text of what is no single value. */
export type Reading =
  | { readonly as: 'string' | 'enum' | 'number' | 'integer' | 'boolean' | 'date-time' | 'date' | 'text' | 'json' }
  | { readonly as: 'decimal'; readonly decimals: number }
  | { readonly as: 'array'; readonly item: string };

/** A column of a view, and where in the context its value stands. */
export interface Column {
  readonly name: string;
  /** The type that ClickHouse gives it. */
  readonly type: string;
  /** The keys that lead to it. */
  readonly path: readonly string[];
  readonly reading: Reading;
  /** Every version says that it is there, and is not null. */
  readonly isRequired: boolean;
  readonly values: readonly string[] | undefined;
  readonly description: string | undefined;
}

export interface Columns {
  readonly columns: readonly Column[];
  /** What a person should know of them: names that clash, and keys that can have no column. */
  readonly notes: readonly string[];
}

const DEEPEST = 8;
/** What has more is no table that a person reads. */
const MOST = 500;

/** A value of a context that has a column. */
interface Leaf {
  readonly path: readonly string[];
  readonly shape: Shape;
  readonly isRequired: boolean;
}

/** The columns for a context: nested objects become columns `a_b`, arrays stay arrays. */
export function columnsOf({ object }: Shape): Columns {
  const all = object === undefined ? [] : leavesOf(object, [], true);
  const usable = all.filter(({ path }) => path.every((key) => key !== ''));
  const leaves = usable.slice(0, MOST);
  const notes = [
    ...(usable.length < all.length ? ['an empty key has no column: ClickHouse has no name for it'] : []),
    ...(leaves.length < usable.length ? [`only the first ${MOST} fields have columns`] : []),
  ];
  const names = new Names([...Object.keys(EVENT_COLUMNS), ...ASKED_FOR]);
  const named = new Map<Leaf, string>();
  // what is less deep comes first, so that a new nested field takes no name away
  for (const leaf of leaves.toSorted((one, other) => one.path.length - other.path.length)) {
    const wanted = leaf.path.map(snakeCase).join('_');
    const name = names.take(wanted, `context_${wanted}`);
    if (name !== wanted) notes.push(`${leaf.path.join('.')} is the column ${name}, because ${wanted} is taken`);
    named.set(leaf, name);
  }
  return { columns: leaves.map((leaf) => columnOf(leaf, named.get(leaf)!)), notes };
}

function leavesOf({ fields }: ObjectShape, above: readonly string[], isAboveRequired: boolean): Leaf[] {
  return [...fields].flatMap(([key, { shape, isRequired: isThere }]) => {
    const path = [...above, key];
    const isRequired = isAboveRequired && isThere && !shape.mayBeNull;
    if (isNested(shape) && path.length < DEEPEST) return leavesOf(shape.object!, path, isRequired);
    return [{ path, shape, isRequired }];
  });
}

function columnOf({ path, shape, isRequired }: Leaf, name: string): Column {
  const reading = readingOf(shape);
  const { values, description } = shape;
  return {
    name,
    type: typeOf(reading),
    path,
    reading,
    isRequired,
    values: reading.as === 'enum' ? values : undefined,
    description,
  };
}

/** An object of known fields, and nothing else. */
function isNested({ object, scalars, items, isAnything }: Shape): boolean {
  return object !== undefined && !object.isOpen && scalars.size === 0 && items === undefined && !isAnything;
}

function readingOf(shape: Shape): Reading {
  const { scalars, items, object, isAnything, values, format, decimals } = shape;
  if (isAnything || object !== undefined) return { as: 'json' };
  if (items !== undefined) return scalars.size > 0 ? { as: 'json' } : arrayOf(items);
  const [only, ...others] = scalars;
  if (others.length > 0) {
    const isNumber = scalars.size === 2 && scalars.has('integer') && scalars.has('number');
    return { as: isNumber ? 'number' : 'text' };
  }
  // null alone
  if (only === undefined) return { as: 'text' };
  if (only === 'string') {
    if (values !== undefined) return { as: 'enum' };
    return { as: format === 'date-time' || format === 'date' ? format : 'string' };
  }
  if (only === 'number' && decimals !== undefined) return { as: 'decimal', decimals };
  return { as: only };
}

function arrayOf(items: Shape): Reading {
  const item = itemType(items);
  return item === undefined ? { as: 'json' } : { as: 'array', item };
}

/** The type of an array's item; undefined where no type of ClickHouse holds each of them. */
function itemType(shape: Shape): string | undefined {
  if (isNested(shape)) return tupleOf(shape.object!);
  const reading = readingOf(shape);
  if (reading.as === 'json' || reading.as === 'text') return undefined;
  if (reading.as === 'array') return `Array(${reading.item})`;
  return shape.mayBeNull ? `Nullable(${scalarIn(reading)})` : scalarIn(reading);
}

/** In what JSONExtract makes, dates stay texts, and a Decimal would throw where a number is too large for it. */
function scalarIn(reading: Reading): string {
  if (reading.as === 'decimal') return 'Float64';
  return ['enum', 'date', 'date-time'].includes(reading.as) ? 'String' : bareType(reading);
}

/** An object in an array: what may be absent from it is NULL. */
function tupleOf({ fields }: ObjectShape): string | undefined {
  const elements = [...fields].map(([key, { shape }]) => {
    // a dot in a key is one between keys there, a number is a place, and ClickHouse has a use of its own for null
    if (!/^(?!null$)[a-z_]\w*$/i.test(key)) return undefined;
    const type = itemType({ ...shape, mayBeNull: !isNested(shape) && shape.items === undefined });
    return type && `${key} ${type}`;
  });
  return elements.includes(undefined) ? undefined : `Tuple(${elements.join(', ')})`;
}

function bareType(reading: Reading): string {
  switch (reading.as) {
    case 'number':
      return 'Float64';
    case 'integer':
      return 'Int64';
    case 'decimal':
      return `Decimal(18, ${reading.decimals})`;
    case 'boolean':
      return 'Bool';
    case 'date-time':
      return "DateTime64(6, 'UTC')";
    case 'date':
      return 'Date32';
    case 'array':
      return `Array(${reading.item})`;
    default:
      return 'String';
  }
}

/** Each may be NULL: ClickHouse also has events that were emitted by hand, and contexts that its JSON type refused. */
function typeOf(reading: Reading): string {
  if (reading.as === 'array') return bareType(reading);
  const type = `Nullable(${bareType(reading)})`;
  return reading.as === 'enum' ? `LowCardinality(${type})` : type;
}

/** A description as a sentence that others may follow. */
export function sentence(text: string): string {
  return /[.!?]$/.test(text) ? text : `${text}.`;
}

/** What stands in ClickHouse beside a column, and on the page for people. */
export function commentOf({ path, reading, isRequired, values, description }: Column): string {
  const facts = [
    ...(description === undefined ? [] : [sentence(description)]),
    ...(values === undefined ? [] : [`One of ${values.map((value) => JSON.stringify(value)).join(', ')}.`]),
    ...(reading.as === 'text' ? ['Values of several types, as text.'] : []),
    ...(reading.as === 'json' ? ['JSON text, out of event_context_text.'] : []),
    `event_context.${path.join('.')}, ${isRequired ? 'required' : 'optional'}`,
  ];
  return facts.join(' ');
}
