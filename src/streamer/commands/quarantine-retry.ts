import { OutboxError } from '../../errors.ts';
import { Batch, rowBytes } from '../batch/batch.ts';
import { ChunkPool } from '../batch/column.ts';
import { encode } from '../batch/native.ts';
import { readTimestamp } from '../batch/time.ts';
import { valuesOf } from '../batch/values.ts';
import type { ClickHouse } from '../clickhouse/client.ts';
import { whereCurrent } from '../clickhouse/current.ts';
import type { Config } from '../config.ts';
import { TOKEN_TRUST_MS } from '../delivery/retry.ts';
import { INSERT } from '../delivery/send.ts';
import { writeIgnored } from '../ledger/row.ts';
import type { Database } from '../source/database.ts';
import type { EventValues } from '../source/event-columns.ts';

/** An event, its values in Postgres' binary form. */
interface Row extends EventValues {
  /** Of the event. */
  readonly id: string;
  readonly source: string;
  /** A decimal number. */
  readonly lsn: string;
  readonly seq: number;
  readonly committed_at: Buffer;
  /** The time of the first retry. */
  readonly delivered_at: string;
}

/**
 * Inserts one event and takes it out of quarantine. Killed anywhere between, it is found in ClickHouse by the next call, or
 * recognised by its token; of two calls at once, one passes it by. An insert without an answer is not repeated here: the next
 * call looks first. What an earlier call has left in the table, its views may lack.
 */
export async function retry(
  db: Database,
  clickhouse: ClickHouse,
  { slot, clickhouseTable: table }: Config,
  id: string,
  hasViews: boolean,
): Promise<'delivered' | 'there already' | 'views unproven' | 'gone'> {
  const { rows: earlier } = await db.query<{ isTrusted: boolean }>(
    `SELECT clock_timestamp() - retried_at < make_interval(secs => $3) AS "isTrusted"
       FROM outbox.quarantine WHERE slot_name = $1 AND id = $2 AND retried_at IS NOT NULL`,
    [slot, id, TOKEN_TRUST_MS / 1000],
  );
  // an earlier call may have failed at a view: the same insert completes it, as long as its token is remembered
  const completes = hasViews && earlier[0]?.isTrusted === true;
  // a repeated insert must carry the same time
  await db.query(
    `UPDATE outbox.quarantine SET retried_at = coalesce(retried_at, date_trunc('milliseconds', now()))
      WHERE id = (SELECT id FROM outbox.quarantine WHERE slot_name = $1 AND id = $2 FOR UPDATE SKIP LOCKED)`,
    [slot, id],
  );
  await db.query('BEGIN');
  try {
    const { rows } = await db.query<Row>(
      `SELECT event_id::text AS id, source, (lsn - '0/0')::text AS lsn, seq::int8::float8 AS seq, uuid_send(event_id) AS event_id,
              convert_to(event_type, 'UTF8') AS event_type, timestamptz_send(event_date_time) AS event_date_time,
              convert_to(environment, 'UTF8') AS environment, convert_to(event_context, 'UTF8') AS event_context,
              int8send(metadata_version) AS metadata_version, convert_to(subject, 'UTF8') AS subject,
              CASE WHEN trace_id <> '' THEN convert_to('00-' || trace_id || '-' || span_id || '-00', 'UTF8') END AS traceparent,
              timestamptz_send(recorded_at) AS recorded_at, convert_to(recorded_by, 'UTF8') AS recorded_by, timestamptz_send(committed_at) AS committed_at,
              to_char(retried_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS delivered_at
         FROM outbox.quarantine WHERE slot_name = $1 AND id = $2 AND discarded_at IS NULL FOR UPDATE SKIP LOCKED`,
      [slot, id],
    );
    const [row] = rows;
    if (row === undefined) {
      await db.query('ROLLBACK');
      return 'gone';
    }
    const isThere = await find(clickhouse, table, row);
    if (!isThere || completes) {
      try {
        await insert(clickhouse, table, row);
      } catch (error) {
        // a row may hold the words by which a view that failed is known; a view fails behind a row that is there
        const isView = error instanceof OutboxError && error.code === 'OUTBOX_CH_VIEW_FAILED';
        if (!isView || (await find(clickhouse, table, row))) throw error;
        throw new OutboxError('OUTBOX_CH_ROW_REFUSED', { detail: error.message, clickhouseCode: error.clickhouseCode });
      }
      // an insert that ClickHouse takes for a repetition is dropped without a word
      if (!(await find(clickhouse, table, row)))
        throw new OutboxError('OUTBOX_QUARANTINE_DROPPED', {
          detail: `the event ${row.id} was inserted, and is not there`,
        });
    }
    const { count } = await db.query('DELETE FROM outbox.quarantine WHERE slot_name = $1 AND id = $2', [slot, id]);
    if (count === 0) throw writeIgnored(db, 'quarantine');
    await db.query('COMMIT');
    if (!isThere) return 'delivered';
    return hasViews && earlier.length > 0 && !completes ? 'views unproven' : 'there already';
  } catch (error) {
    await db.query('ROLLBACK').catch(() => undefined);
    // under another time it has another token
    if (error instanceof OutboxError && error.code === 'OUTBOX_QUARANTINE_DROPPED')
      await db.query('UPDATE outbox.quarantine SET retried_at = NULL WHERE slot_name = $1 AND id = $2', [slot, id]);
    throw error;
  }
}

async function find(clickhouse: ClickHouse, table: string, { source, lsn, seq, id }: Row): Promise<boolean> {
  const current = await whereCurrent(clickhouse, table);
  const [found] = await clickhouse.select<{ rows: string }>(
    `SELECT toString(count()) AS rows FROM {table:Identifier}
      WHERE ${current} AND source = {source:String} AND lsn = {lsn:UInt64} AND seq = {seq:UInt32} AND event_id = {id:UUID}`,
    { table, source, lsn, seq, id },
  );
  return found!.rows !== '0';
}

async function insert(clickhouse: ClickHouse, table: string, row: Row): Promise<void> {
  // an id of outbox.quarantine may come again after a failover
  const token = `${row.source}/quarantine/${row.lsn}:${row.seq}/${row.id}@${row.delivered_at}`;
  const batch = new Batch(new ChunkPool(0));
  const { buffer, tuple } = valuesOf(row);
  const stamp = { commitLsn: Number(row.lsn), committedAt: { high: 0, low: 0 } };
  readTimestamp(row.committed_at, 0, stamp.committedAt);
  batch.append(buffer, tuple, stamp, row.seq, rowBytes(tuple));
  const constants = { source: row.source, deliveredAtMs: Date.parse(row.delivered_at), origin: 'quarantine' };
  await clickhouse.insert(
    { query: INSERT, parameters: { table }, rows: 1, token, queryId: token, body: encode(batch, constants) },
    new AbortController().signal,
  );
}
