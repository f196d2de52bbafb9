import { inSchema } from '../../schema-name.ts';
import { wholeNumber } from '../statement.ts';
import { open, type Transaction } from '../transaction.ts';
import type { RecordedEvent } from './event.ts';
import { ask, schemaIn, type Queryable, type QueryFunction } from './query.ts';

/**
 * The events of this transaction and of its savepoints: those that it can see although their transaction is still in
 * progress. The WHERE clause limits the search to one partition and to the start time of this transaction. An xmin is only
 * the lower half of a transaction id, so the query takes the full id with this half that is nearest to our own. The rows are
 * sorted by command, then by their place in the table.
 */
const EMITTED = `
SELECT json_build_object('id', event_id, 'type', event_type, 'context', event_context, 'environment', environment,
         'time', to_char(event_date_time AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
         'metadataVersion', metadata_version::text, 'subject', subject, 'traceparent', traceparent)::text AS event
  FROM (
    SELECT e.*, e.cmin AS command, e.ctid AS place,
           own.id + mod(e.xmin::text::bigint - mod(own.id, 4294967296) + 6442450944, 4294967296) - 2147483648 AS writer
      FROM outbox.event e, (SELECT pg_current_xact_id_if_assigned()::text::bigint AS id) own
     WHERE e.recorded_at = now() AND e.bucket = ((extract(epoch FROM now())::bigint / 86400) % 32)
  ) AS visible
 WHERE CASE WHEN writer > 0 THEN pg_xact_status(writer::text::xid8) = 'in progress' END
 ORDER BY command::text::bigint, place`;

export interface EmittedOptions {
  /** Of the outbox. Default: OUTBOX_SCHEMA, else `outbox`. */
  readonly schema?: string | undefined;
}

/**
 * The events that an open transaction has emitted so far, those of its savepoints included, in their order. The query runs
 * in that transaction. It is for tests: the role needs SELECT on outbox.event, which producers do not have.
 *
 * @param tx a transaction of `pg` or drizzle, or a function `(sql, params) => rows` that queries within any other one
 * @throws OutboxError OUTBOX_NO_TRANSACTION, OUTBOX_TEST_UNSUPPORTED; whatever the driver throws
 */
export async function emittedEvents(
  tx: (Transaction & Queryable) | QueryFunction,
  options: EmittedOptions = {},
): Promise<RecordedEvent[]> {
  if (typeof tx !== 'function') open(tx);
  const rows = await ask<{ event: string }>(tx, inSchema(schemaIn(options), EMITTED));
  return rows.map(({ event }) => {
    const stored = JSON.parse(event) as Stored;
    return { ...stored, time: new Date(stored.time), metadataVersion: wholeNumber(stored.metadataVersion) };
  });
}

type Stored = Omit<RecordedEvent, 'time' | 'metadataVersion'> & {
  readonly time: string;
  readonly metadataVersion: string;
};
