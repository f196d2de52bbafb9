import { FIRST_US, MICROSECONDS, type EventTime } from '../clickhouse/event-time.ts';
import { BUCKET_US } from './window.ts';

/**
 * SQL by which Postgres and ClickHouse come to the same bytes of an event: its numbers and the lengths of its texts, then the texts,
 * each as UTF-8. Nothing of it can be shifted from one field into the next without a trace. `verify` compares their MD5, which is
 * fast; manifests hold their SHA-256, which nobody can forge. docs/auditors.md writes the bytes down for people.
 */

/** What a digest covers, beside the id. */
export const FIELDS = [
  'event_date_time',
  'recorded_at',
  'metadata_version',
  'event_type',
  'environment',
  'subject',
  'trace',
  'recorded_by',
  'event_context_text',
] as const;

const DASHES = "substr(tp, 3, 1) || substr(tp, 36, 1) || substr(tp, 53, 1) = '---'::bytea";

const OUTBOX_CANONICAL = `convert_to(concat_ws(' ', event_id, us, recorded_us, metadata_version, length(type), length(environment), length(subject), length(trace), length(writer)) || ' ', 'UTF8')
             || type || environment || subject || trace || writer || context`;

/**
 * Rows of outbox.event, or those that meet a condition on its columns, with `us`, the date as the table holds it, `digest` (MD5) and
 * `witnessed` (SHA-256, see TABLE_WITNESSED); the texts are bytes of UTF-8. The login's name is what the stream sends: Postgres does not
 * check its bytes, and a database of another encoding may have made the role.
 */
export function outboxRows(condition: string, time: EventTime): string {
  return `
  SELECT event_id, us, recorded_us, recorded_at, event_date_time, metadata_version, type, environment, subject, tp, trace, writer, context,
         md5(${OUTBOX_CANONICAL}) COLLATE "C" AS digest, sha256(${OUTBOX_CANONICAL}) AS witnessed
    FROM (
      SELECT event_id, recorded_at, event_date_time, metadata_version, type, environment, subject, context, tp, writer,
             ${held('event_date_time', time)} AS us, ${held('recorded_at', MICROSECONDS)} AS recorded_us,
             CASE WHEN length(tp) >= 55 AND ${DASHES} THEN substr(tp, 4, 32) || substr(tp, 37, 16) ELSE '' END AS trace
        FROM (
          SELECT event_id, recorded_at, metadata_version, event_date_time,
                 convert_to(event_type, 'UTF8') AS type, convert_to(environment, 'UTF8') AS environment, convert_to(subject, 'UTF8') AS subject,
                 convert_to(event_context::text, 'UTF8') AS context, convert_to(traceparent, 'UTF8') AS tp,
                 textsend(recorded_by) AS writer
            FROM outbox.event${condition === '' ? '' : ` WHERE ${condition}`}
        ) AS e
    ) AS e`;
}

/** Rows of outbox.quarantine that meet a condition on its columns, with `witnessed` as outbox.event has it. */
export function quarantinedRows(condition: string, time: EventTime): string {
  return `
  SELECT sha256(${OUTBOX_CANONICAL}) AS witnessed
    FROM (
      SELECT event_id, metadata_version, ${held('event_date_time', time)} AS us, ${held('recorded_at', MICROSECONDS)} AS recorded_us,
             convert_to(event_type, 'UTF8') AS type, convert_to(environment, 'UTF8') AS environment, convert_to(subject, 'UTF8') AS subject,
             convert_to(event_context, 'UTF8') AS context, convert_to(trace_id || span_id, 'UTF8') AS trace, convert_to(recorded_by, 'UTF8') AS writer
        FROM outbox.quarantine WHERE ${condition}
    ) AS e`;
}

/** SQL for a time of Postgres as the table's column holds it, µs since 1970. */
function held(column: string, { step, first, last }: EventTime): string {
  const [before, beyond] = [first, last + step].map((us) => new Date(Number(us / 1000n)).toISOString());
  const us = `(extract(epoch FROM ${column}) * 1000000)::bigint`;
  // towards the past, before 1970 as well
  const cut = step === 1n ? us : `${us} - (${us} % ${step} + ${step}) % ${step}`;
  return `CASE WHEN ${column} < '${before}' THEN ${first} WHEN ${column} >= '${beyond}' THEN ${last} ELSE ${cut} END`;
}

/** The same of an expression of ClickHouse, over the columns of its table. */
export const TABLE_US = "toUnixTimestamp64Micro(toDateTime64(event_date_time, 6, 'UTC'))";
export const TABLE_RECORDED = "toUnixTimestamp64Micro(toDateTime64(recorded_at, 6, 'UTC'))";
const TABLE_CANONICAL = `concat(
  toString(event_id), ' ', toString(${TABLE_US}), ' ', toString(${TABLE_RECORDED}), ' ', toString(metadata_version), ' ', toString(length(toString(event_type))), ' ',
  toString(length(toString(environment))), ' ', toString(length(subject)), ' ', toString(length(trace_id) + length(span_id)), ' ', toString(length(recorded_by)), ' ',
  toString(event_type), toString(environment), subject, trace_id, span_id, recorded_by, event_context_text)`;
export const TABLE_DIGEST = `MD5(${TABLE_CANONICAL})`;

/** FixedString(32) of what both servers have of an event: Postgres is the witness of it. */
export const TABLE_WITNESSED = `SHA256(${TABLE_CANONICAL})`;
const us = (column: string): string => `toString(toUnixTimestamp64Micro(toDateTime64(${column}, 6, 'UTC')))`;
/** FixedString(32) of what only ClickHouse has: where the event stood in the stream, and how it came. The typed column follows from the text. */
export const TABLE_DELIVERED = `SHA256(concat(
  toString(lsn), ' ', toString(seq), ' ', ${us('committed_at')}, ' ', ${us('delivered_at')}, ' ', toString(length(toString(source))), ' ',
  toString(source), toString(origin)))`;

/** Each of FIELDS as a short text, in their order, with blanks between them. */
export const OUTBOX_FIELDS =
  "concat_ws(' ', us, recorded_us, metadata_version, md5(type), md5(environment), md5(subject), md5(trace), md5(writer), md5(context))";
export const TABLE_FIELDS = `concatWithSeparator(' ', toString(${TABLE_US}), toString(${TABLE_RECORDED}), toString(metadata_version), ${[
  'toString(event_type)',
  'toString(environment)',
  'subject',
  'concat(trace_id, span_id)',
  'recorded_by',
  'event_context_text',
]
  .map((text) => `lower(hex(MD5(${text})))`)
  .join(', ')})`;

/** Hours since 1900, of which none is negative: both servers round towards zero. */
export const OUTBOX_BUCKET = `(us - (${FIRST_US})) / ${BUCKET_US}`;
export const TABLE_BUCKET = `intDiv(${TABLE_US} - (${FIRST_US}), ${BUCKET_US})`;
/** Seven bytes of each digest, added up: the order does not matter, and neither server overflows. */
export const OUTBOX_SUM = "sum(('x' || left(digest, 14))::bit(56)::bigint)";
export const TABLE_SUM = `sum(toUInt128(reinterpretAsUInt64(reverse(substring(${TABLE_DIGEST}, 1, 7)))))`;
