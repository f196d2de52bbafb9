import { formatLsn } from '../../../lsn.ts';
import type { Context, EventDetail, Neighbour, Path } from './api.ts';
import { LIMITS } from './limits.ts';
import type { Questions } from './questions.ts';
import { AT, malformed } from './search.ts';
import { readable, type Question } from './sql.ts';

/** Of a text that is shown; a page with more is slow, and nobody reads it. */
const SHOWN_CHARACTERS = 200_000;
const SHOWN_PATHS = 500;
/** Neighbours in WAL order, and the rows of the same insert, are looked for so far around. */
const NEARBY_BYTES = 64 * 1024 * 1024;

/** Which row: an id may be there more than once. */
export interface Key {
  readonly id: string;
  readonly source: string;
  readonly lsn: string;
  readonly seq: string;
}

/** Throws a Refusal for what is no key. */
export function keyOf(query: URLSearchParams): Key {
  const key = { id: '', source: '', lsn: '', seq: '' };
  for (const name of ['id', 'source', 'lsn', 'seq'] as const) key[name] = query.get(name) ?? '';
  if (!/^[\da-f-]{36}$/i.test(key.id) || !/^\d{1,19}$/.test(key.lsn) || !/^\d{1,10}$/.test(key.seq))
    throw malformed('an event is named by id, source, lsn and seq');
  return key;
}

interface Row extends Readonly<Record<string, unknown>> {
  readonly bytes: string;
  readonly text: string | null;
  readonly typed: string | null;
  readonly paths: readonly (readonly [path: string, type: string])[];
}

/** Undefined where it is not there. Throws OUTBOX_CH_*. */
export async function eventOf(
  clickhouse: Questions,
  table: string,
  key: Key,
  payloads: boolean,
  signal: AbortSignal,
): Promise<EventDetail | undefined> {
  const ask = async <R>({ sql, parameters }: Question): Promise<R[]> =>
    clickhouse.selectWithin<R>(LIMITS, sql, parameters, signal);
  const [column] = await ask<{ type: string }>({
    sql: `SELECT type FROM system.columns WHERE database = currentDatabase() AND table = {table:String} AND name = 'event_context'`,
    parameters: { table },
  });
  const one = rowQuestion(table, key, payloads, column?.type.startsWith('JSON') === true);
  const [row] = await ask<Row>(one);
  if (row === undefined) return undefined;
  const { bytes, text, typed, paths, ...columns } = row;
  const place = placeQuestion(table, key, String(row['delivered_at_']));
  const [batch] = await ask<{ rows: string; first: [string, number]; last: [string, number]; place: string }>(place);
  const [before, behind] = [neighbourQuestion(table, key, 'before'), neighbourQuestion(table, key, 'behind')];
  const context: Context = {
    text,
    typed,
    bytes: Number(bytes),
    paths: paths.map(([path, type]): Path => ({ path, type })),
  };
  return {
    columns: Object.fromEntries(Object.entries({ ...columns, position: positionOf(key) }).map(named)),
    context,
    batch:
      batch === undefined || batch.rows === '0'
        ? null
        : {
            rows: Number(batch.rows),
            place: Number(batch.place),
            first: positionOf({ lsn: batch.first[0], seq: String(batch.first[1]) }),
            last: positionOf({ lsn: batch.last[0], seq: String(batch.last[1]) }),
          },
    before: neighbour(await ask(before)),
    behind: neighbour(await ask(behind)),
    sql: [one, place, before, behind].map(readable),
  };
}

function neighbour([row]: (Omit<Neighbour, 'lsn'> & { readonly wal: string })[]): Neighbour | null {
  if (row === undefined) return null;
  const { wal, ...rest } = row;
  return { ...rest, lsn: wal };
}

/** An alias must not be the name of a column that a condition names. */
function named([name, value]: readonly [name: string, value: unknown]): [name: string, value: string] {
  return [name.replace(/_$/, ''), String(value)];
}

function positionOf({ lsn, seq }: Pick<Key, 'lsn' | 'seq'>): string {
  return `${formatLsn(Number(lsn))}:${seq}`;
}

const OF_KEY = 'event_id = {id:UUID} AND source = {source:String} AND lsn = {lsn:UInt64} AND seq = {seq:UInt32}';

function rowQuestion(table: string, key: Key, payloads: boolean, isTyped: boolean): Question {
  const shown = (text: string): string => (payloads ? `leftUTF8(${text}, ${SHOWN_CHARACTERS})` : 'NULL');
  const paths = isTyped
    ? `arraySlice(arrayMap((path, type) -> [path, type], mapKeys(JSONAllPathsWithTypes(event_context)), mapValues(JSONAllPathsWithTypes(event_context))), 1, ${SHOWN_PATHS})`
    : "CAST([], 'Array(Array(String))')";
  const time = (name: string): string => `${AT(name)} AS ${name}_`;
  return {
    sql: `SELECT event_id, event_type, ${time('event_date_time')}, environment, subject,
    toString(metadata_version) AS metadata_version, ${time('committed_at')}, ${time('delivered_at')},
    ${time('recorded_at')}, recorded_by, trace_id, span_id, source, toString(lsn) AS lsn_, toString(seq) AS seq_, origin,
    toString(length(event_context_text)) AS bytes, ${shown('event_context_text')} AS text,
    ${isTyped ? shown('toString(event_context)') : 'NULL'} AS typed, ${paths} AS paths
  FROM {table:Identifier}
  WHERE ${OF_KEY}
  LIMIT 1`,
    parameters: { table, ...key },
  };
}

const NEARBY = `source = {source:String} AND lsn BETWEEN {low:UInt64} AND {high:UInt64}`;

function nearby({ source, lsn, seq }: Key): Record<string, string> {
  const at = Number(lsn);
  return { source, lsn, seq, low: String(Math.max(0, at - NEARBY_BYTES)), high: String(at + NEARBY_BYTES) };
}

/** The rows of one insert carry the same time. */
function placeQuestion(table: string, key: Key, deliveredAt: string): Question {
  return {
    sql: `SELECT toString(count()) AS rows, (toString(min((lsn, seq)).1), min((lsn, seq)).2) AS first,
    (toString(max((lsn, seq)).1), max((lsn, seq)).2) AS last,
    toString(countIf((lsn, seq) <= ({lsn:UInt64}, {seq:UInt32}))) AS place
  FROM {table:Identifier}
  WHERE ${NEARBY} AND delivered_at = parseDateTime64BestEffort({deliveredAt:String}, 6, 'UTC')`,
    parameters: { table, ...nearby(key), deliveredAt },
  };
}

function neighbourQuestion(table: string, key: Key, side: 'before' | 'behind'): Question {
  const [than, order] = side === 'before' ? ['<', 'DESC'] : ['>', 'ASC'];
  return {
    sql: `SELECT toString(event_id) AS id, event_type AS type, ${AT('event_date_time')} AS at, source,
    toString(lsn) AS wal, seq
  FROM {table:Identifier}
  WHERE ${NEARBY}
    AND (lsn, seq) ${than} ({lsn:UInt64}, {seq:UInt32})
  ORDER BY lsn ${order}, seq ${order}
  LIMIT 1`,
    parameters: { table, ...nearby(key) },
  };
}
