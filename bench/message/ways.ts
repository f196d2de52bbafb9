import { randomUUID } from 'node:crypto';
import type { EventRow } from '../../src/app/events.ts';
import { insertMany, insertOne } from '../../src/app/statement.ts';
import type { Statement } from '../../src/app/statement.ts';
import { contextOf } from '../notes.ts';

/** A way to tell of events. Statements with a name are parsed once; the library names none. */
export interface Way {
  readonly name: string;
  readonly statement?: (rows: readonly EventRow[]) => { text: string; values: unknown[]; name?: string };
}

const UNTRACED = { traceparent: null, tracestate: null };
const ONE_MESSAGE = "SELECT pg_logical_emit_message(true, 'outbox', $1::text)";
const MANY_MESSAGES =
  "SELECT count(pg_logical_emit_message(true, 'outbox', line)) FROM string_to_table($1::text, E'\\n') AS line";

export const NONE: Way = { name: 'no event' };
export const INSERT = 'INSERT';

export const SINGLE: readonly Way[] = [
  NONE,
  { name: INSERT, statement: ([row]) => inserting(insertOne(row!, UNTRACED)) },
  { name: 'INSERT, prepared', statement: ([row]) => ({ name: 'insert', ...inserting(insertOne(row!, UNTRACED)) }) },
  { name: 'message', statement: (rows) => ({ text: ONE_MESSAGE, values: payload(rows) }) },
  { name: 'message, prepared', statement: (rows) => ({ name: 'message', text: ONE_MESSAGE, values: payload(rows) }) },
];
export const BATCHED: readonly Way[] = [
  NONE,
  { name: INSERT, statement: (rows) => inserting(insertMany(rows, UNTRACED)) },
  { name: 'message each', statement: (rows) => ({ text: MANY_MESSAGES, values: payload(rows) }) },
  { name: 'one message for all', statement: (rows) => ({ text: ONE_MESSAGE, values: payload(rows) }) },
];

function inserting({ untyped, values }: Statement): { text: string; values: unknown[] } {
  return { text: untyped, values: [...values] };
}

/** A line for each event: all that is published of it, as one JSON array, which holds no line feed. */
function payload(rows: readonly EventRow[]): string[] {
  const line = ({ id, time, metadataVersion, type, environment, context }: EventRow): string =>
    `${JSON.stringify([id, time, metadataVersion, null, type, environment]).slice(0, -1)},${context}]`;
  return [rows.map(line).join('\n')];
}

export function rowOf(n: number): EventRow {
  const context = JSON.stringify(contextOf(n));
  const time = new Date().toISOString();
  const [type, environment] = ['order.placed', 'production'];
  return { id: randomUUID(), type, time, environment, context, metadataVersion: 1, bytes: Buffer.byteLength(context) };
}

/** A procedure that tells of all that the outbox has once more, as messages of the same form. */
export const TELL = `
  CREATE PROCEDURE peer.tell(per_transaction int, per_message int) LANGUAGE plpgsql AS $$
  DECLARE
    payload text;
    told bigint := 0;
  BEGIN
    FOR payload IN
      SELECT string_agg(line, E'\\n')
        FROM (SELECT json_build_array(event_id, event_date_time, metadata_version, traceparent, event_type, environment, event_context)::text AS line,
                     (row_number() OVER () - 1) / per_message AS n
                FROM outbox.event) lines
       GROUP BY n
    LOOP
      PERFORM pg_logical_emit_message(true, 'outbox', payload);
      told := told + per_message;
      IF told % per_transaction = 0 THEN COMMIT; END IF;
    END LOOP;
  END $$`;
