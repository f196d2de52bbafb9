import type { ClickHouse } from '../clickhouse/client.ts';
import { literal } from '../clickhouse/literal.ts';

/** What stores a value of the column that depends on the text. */
const STORED: readonly string[] = ['DEFAULT', 'MATERIALIZED'];

/**
 * What an array of mixed values becomes depends on the other rows of its insert: an element that does not fit the type that
 * was chosen is null, {} or []. So arrays are left out of the comparison where they seem to have such elements.
 */
const LOST_ELEMENT = String.raw`[\[,](?:null|\{\}|\[\])[,\]]`;
const INNER_ARRAY = String.raw`\[[^\[\]]*\]`;

/** SQL by which a row's event_context is not what the table's own DEFAULT makes of the row. */
export interface Typing {
  /** As inserts of the streamer type texts. */
  readonly differs: string;
  /** As ClickHouse itself does in mutations, and where it fills a column that was added later: it takes texts for times. */
  readonly differsFromFilled: string;
}

/** Undefined where nothing can be compared: the table has no event_context, or none with a DEFAULT. Throws OUTBOX_CH_*. */
export async function typingOf(clickhouse: ClickHouse, table: string): Promise<Typing | undefined> {
  const [column] = await clickhouse.select<{ type: string; kind: string; expression: string }>(
    `SELECT type, default_kind AS kind, default_expression AS expression FROM system.columns
      WHERE database = currentDatabase() AND table = {table:String} AND name = 'event_context'`,
    { table },
  );
  if (column === undefined || !STORED.includes(column.kind)) return undefined;
  const typed = `CAST(${column.expression}, ${literal(column.type)})`;
  const [is, should] = ['event_context', typed].map(textOf) as [string, string];
  const isLossy = [is, should].map((text) => `match(${text}, ${literal(LOST_ELEMENT)})`).join(' OR ');
  // to write JSON as text takes several times as long, and is asked only where the values are not equal: equal paths can be stored apart
  const differs = `(ifNull(event_context != ${typed}, true) AND ${is} != ${should}
    AND NOT ((${isLossy}) AND ${withoutArrays(is)} = ${withoutArrays(should)}))`;
  const under = (infers: 0 | 1): string =>
    `${differs} SETTINGS short_circuit_function_evaluation = 'enable', input_format_try_infer_dates = ${infers}, input_format_try_infer_datetimes = ${infers}`;
  return { differs: under(0), differsFromFilled: under(1) };
}

/** Without the sign of -0, which goes when a path loses the column of its own. */
function textOf(value: string): string {
  return `replaceRegexpAll(ifNull(toString(${value}), ''), '-0([,}\\]])', '0\\\\1')`;
}

/** From the innermost arrays outwards. */
function withoutArrays(text: string): string {
  return `arrayFold((rest, _) -> replaceRegexpAll(rest, ${literal(INNER_ARRAY)}, ''), range(countSubstrings(${text}, '[')), ${text})`;
}
