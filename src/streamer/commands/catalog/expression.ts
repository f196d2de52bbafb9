import { literal } from '../../clickhouse/literal.ts';
import { quoted } from '../doctor/subjects.ts';
import type { Column, Reading } from './columns.ts';

/** `JSON` where the table types contexts; otherwise the expression of their text, as in a table of somebody's own. */
export type Storage = 'JSON' | 'event_context' | "ifNull(event_context, '')" | 'event_context_text';

type Converted = Exclude<Reading, { as: 'array' | 'json' }>;

/**
 * Reads a column's value out of `event_context`, and nothing else; JSON text out of `event_context_text`. It never throws, whatever
 * events have at this path: a value of another type is NULL, or empty for an array. A plain cast of a path throws as soon as an event
 * of any type has an array there.
 */
export function expressionOf({ path, reading }: Column, storage: Storage): string {
  // arrays of mixed values, nulls and empty objects are lost where they are typed
  if (reading.as === 'json')
    return `nullIf(nullIf(JSONExtractRaw(event_context_text, ${path.map(literal).join(', ')}), ''), 'null')`;
  return storage === 'JSON' ? ofPath(path, reading) : ofText(storage, path, reading);
}

function ofPath(path: readonly string[], reading: Exclude<Reading, { as: 'json' }>): string {
  // a dot in a key is one between keys, for ClickHouse
  const value = `event_context.${path.map(quoted).join('.')}`;
  if (reading.as === 'array')
    return `JSONExtract(ifNull(toJSONString(${value}), ''), ${literal(`Array(${reading.item})`)})`;
  // 12 and 12.5 are of two types in one path: as texts they are alike
  return converted(`${value}::Nullable(String)`, reading);
}

function ofText(text: string, path: readonly string[], reading: Exclude<Reading, { as: 'json' }>): string {
  const value = `${text}, ${path.map(literal).join(', ')}`;
  if (reading.as === 'array') return `JSONExtract(${value}, ${literal(`Array(${reading.item})`)})`;
  return converted(`JSONExtract(${value}, 'Nullable(String)')`, reading);
}

function converted(text: string, reading: Converted): string {
  switch (reading.as) {
    case 'enum':
      return `toLowCardinality(${text})`;
    case 'number':
      return `toFloat64OrNull(${text})`;
    case 'integer':
      return `toInt64OrNull(${text})`;
    case 'decimal':
      return `toDecimal64OrNull(${text}, ${reading.decimals})`;
    case 'boolean':
      return `accurateCastOrNull(${text}, 'Bool')`;
    case 'date-time':
      return `parseDateTime64BestEffortOrNull(${text}, 6, 'UTC')`;
    case 'date':
      return `toDate32OrNull(${text})`;
    default:
      return text;
  }
}
