import { parseTime } from '../../compare/window.ts';
import type { Found, Listed } from './api.ts';
import { Refusal } from './guard.ts';
import { LIMITS } from './limits.ts';
import type { Questions } from './questions.ts';
import { cursorOf, parseCursor, readable, type Question } from './sql.ts';

const PAGE = 50;
const UUID = /^[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}$/i;
/** Texts of a question; what is longer is no question of a person. */
const MAX_CHARACTERS = 1000;

/** What a search may ask for; each is a condition, and all must hold. */
export type Wanted = Readonly<Partial<Record<(typeof FIELDS)[number], string>>>;

const FIELDS = [
  'from',
  'to',
  'type',
  'subject',
  'environment',
  'id',
  'trace',
  'text',
  'path',
  'value',
  'order',
  'cursor',
] as const;

interface Row {
  readonly id: string;
  readonly type: string;
  readonly at: string;
  readonly us: string;
  readonly environment: string;
  readonly subject: string;
  readonly traceId: string;
  readonly source: string;
  readonly wal: string;
  readonly seq: number;
  readonly bytes: string;
}

/** An event's time as the server's answers have it. */
export const AT = (column: string): string => `replaceOne(toString(toTimeZone(${column}, 'UTC')), ' ', 'T') || 'Z'`;

/** Throws a Refusal for fields that are none of a search's, or too long. */
export function wantedOf(query: URLSearchParams): Wanted {
  const wanted: Partial<Record<(typeof FIELDS)[number], string>> = {};
  for (const name of FIELDS) {
    const text = query.get(name)?.trim();
    if (text === undefined || text === '') continue;
    if (text.length > MAX_CHARACTERS) throw malformed(`${name} has more than ${MAX_CHARACTERS} characters`);
    wanted[name] = text;
  }
  return wanted;
}

/**
 * One page of the events that are wanted, the newest first or, with order=oldest, the oldest. Throws a Refusal for what cannot be
 * asked, OUTBOX_CONSOLE_PAYLOADS_OFF where contexts are not searched, and OUTBOX_CH_*.
 */
export async function search(
  clickhouse: Questions,
  table: string,
  wanted: Wanted,
  payloads: boolean,
  signal: AbortSignal,
): Promise<Found> {
  const question = questionOf(table, wanted, payloads);
  const began = performance.now();
  const rows = await clickhouse.selectWithin<Row>(LIMITS, question.sql, question.parameters, signal);
  return {
    events: rows.slice(0, PAGE).map(listed),
    hasMore: rows.length > PAGE,
    sql: readable(question),
    ms: Math.round(performance.now() - began),
  };
}

function listed({ us, wal, bytes, ...row }: Row): Listed {
  return { ...row, lsn: wal, bytes: Number(bytes), cursor: cursorOf(us, wal, row.seq) };
}

function questionOf(table: string, wanted: Wanted, payloads: boolean): Question {
  const { type, subject, environment, id, trace, text, path, value, order = 'newest', cursor } = wanted;
  if (!payloads && (text ?? path ?? value) !== undefined)
    throw new Refusal(403, 'OUTBOX_CONSOLE_PAYLOADS_OFF', 'this console does not search in contexts');
  if (id !== undefined && !UUID.test(id)) throw malformed('an event id is a UUID');
  if (order !== 'newest' && order !== 'oldest') throw malformed('order is newest or oldest');
  if ((path === undefined) !== (value === undefined))
    throw malformed('a path in the context wants a value, and a value a path');
  const isOldest = order === 'oldest';
  const conditions = [
    ...timesOf(wanted),
    type !== undefined && 'event_type = {type:String}',
    subject !== undefined && 'subject = {subject:String}',
    environment !== undefined && 'environment = {environment:String}',
    id !== undefined && 'event_id = {id:UUID}',
    trace !== undefined && 'trace_id = {trace:String}',
    text !== undefined && 'positionCaseInsensitive(event_context_text, {text:String}) > 0',
    path !== undefined && 'toString(getSubcolumn(event_context, {path:String})) = {value:String}',
  ];
  const at = cursor === undefined ? undefined : parseCursor(cursor);
  if (cursor !== undefined && at === undefined) throw malformed('the cursor is none of this list');
  if (at !== undefined) {
    // the first condition is what the table's order can be used for
    const [from, behind] = isOldest ? ['>=', '>'] : ['<=', '<'];
    conditions.push(
      `event_date_time ${from} fromUnixTimestamp64Micro({us:Int64}, 'UTC')`,
      `(event_date_time, lsn, seq) ${behind} (fromUnixTimestamp64Micro({us:Int64}, 'UTC'), {lsn:UInt64}, {seq:UInt32})`,
    );
  }
  const direction = isOldest ? 'ASC' : 'DESC';
  const where = conditions.filter((condition) => condition !== false).join('\n    AND ') || 'true';
  // in its own order alone the table is read no further than to the last row of the page; among equal times the position decides
  const [end, bound] = isOldest ? ['maxOrNull', '<='] : ['minOrNull', '>='];
  return {
    sql: `SELECT toString(event_id) AS id, event_type AS type, ${AT('event_date_time')} AS at,
    toString(toUnixTimestamp64Micro(toDateTime64(event_date_time, 6))) AS us, environment, subject,
    trace_id AS traceId, source, toString(lsn) AS wal, seq, toString(length(event_context_text)) AS bytes
  FROM {table:Identifier}
  WHERE ${where}
    AND event_date_time ${bound} (SELECT ${end}(t) FROM (
      SELECT event_date_time AS t FROM {table:Identifier}
      WHERE ${where}
      ORDER BY event_date_time ${direction} LIMIT ${PAGE + 1}))
  ORDER BY event_date_time ${direction}, lsn ${direction}, seq ${direction}
  LIMIT ${PAGE + 1}`,
    parameters: {
      ...texts({ type, subject, environment, id, trace: trace?.toLowerCase(), text, path, value }),
      ...bounds(wanted),
      ...at,
      table,
    },
  };
}

function timesOf({ from, to }: Wanted): (string | false)[] {
  return [
    from !== undefined && "event_date_time >= fromUnixTimestamp64Micro({from:Int64}, 'UTC')",
    to !== undefined && "event_date_time < fromUnixTimestamp64Micro({to:Int64}, 'UTC')",
  ];
}

/** µs since 1970. */
function bounds({ from, to }: Wanted): Record<string, string> {
  const nowMs = Date.now();
  const read = (name: string, text: string | undefined): [string, string][] => {
    if (text === undefined) return [];
    const us = parseTime(text, nowMs);
    if (us === undefined) throw malformed(`${name} is an ISO time or a duration such as 24h`);
    return [[name, String(us)]];
  };
  return Object.fromEntries([...read('from', from), ...read('to', to)]);
}

function texts(fields: Readonly<Record<string, string | undefined>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(fields).filter((field): field is [string, string] => field[1] !== undefined),
  );
}

export function malformed(detail: string): Refusal {
  return new Refusal(400, 'OUTBOX_CONSOLE_REQUEST', detail);
}
