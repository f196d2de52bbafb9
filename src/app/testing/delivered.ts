import { setTimeout as sleep } from 'node:timers/promises';
import { OutboxError } from '../../errors.ts';
import { PACKAGE_NAME } from '../../package.ts';
import { ask, schemaIn, type Queryable } from './query.ts';

const POLL_MS = 100;

export interface DeliveredOptions {
  /** Of the outbox. Default: OUTBOX_SCHEMA, else `outbox`. */
  readonly schema?: string | undefined;
  /** The slot of the streamer. Default: every slot of the outbox. */
  readonly slot?: string | undefined;
  /** Default: 10,000 ms. */
  readonly timeoutMs?: number | undefined;
}

/** Operators of Postgres itself: the statements run in the caller's session, with its search_path, where others may stand before them. */
const [EQUAL, MORE, SINCE, MINUS] = ['=', '>', '>=', '-'].map((name) => `OPERATOR(pg_catalog.${name})`);

/**
 * SQL for the end of the last record in WAL. All that is committed lies before it, flushed or not. The insert position is
 * where the next record begins. When it is right after the header of a page or segment, the last record ended before that
 * header.
 *
 * @param position SQL that gives the insert position, as `lsn`
 */
export const walEnd = (position = 'SELECT pg_catalog.pg_current_wal_insert_lsn() AS lsn'): string => `
SELECT (CASE WHEN segment ${EQUAL} 40::numeric THEN lsn ${MINUS} 40::numeric
             WHEN segment ${MORE} page AND pg_catalog.mod(segment, page) ${EQUAL} 24::numeric THEN lsn ${MINUS} 24::numeric
             ELSE lsn END)::pg_catalog.text AS lsn
  FROM (SELECT lsn, pg_catalog.mod(lsn ${MINUS} '0/0'::pg_catalog.pg_lsn,
                                   pg_catalog.pg_size_bytes(pg_catalog.current_setting('wal_segment_size'))::numeric) AS segment,
               pg_catalog.current_setting('wal_block_size')::numeric AS page
          FROM (${position}) AS inserted) AS wal`;

/**
 * How far each slot is, from the sources that `verify` trusts: the ledger, the slot, the position that the streamer reported
 * to its walsender (visible only with pg_read_all_stats), and the name of the streamer's other connection. The streamer
 * writes its position into that name once a second, and every role can see it.
 */
const reachedSql = (schema: string, lsn: string, where: string): string => `
SELECT slot, reached::pg_catalog.text AS reached, reached ${SINCE} '${lsn}'::pg_catalog.pg_lsn AS delivered, active
  FROM (SELECT l.slot_name AS slot, coalesce(s.active, false) AS active,
               greatest(l.delivered_lsn, s.confirmed_flush_lsn, w.replay_lsn,
                        pg_catalog.substring(a.application_name, '^${PACKAGE_NAME} ([0-9A-F]+/[0-9A-F]+)(?: |$)')::pg_catalog.pg_lsn) AS reached
          FROM ${schema}.stream l
          LEFT JOIN pg_catalog.pg_replication_slots s ON s.slot_name::pg_catalog.text ${EQUAL} l.slot_name
          LEFT JOIN pg_catalog.pg_stat_replication w ON w.pid ${EQUAL} s.active_pid
          LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid ${EQUAL} l.holder_pid AND s.active
         WHERE ${where}) AS streams`;

interface Reached {
  readonly slot: string;
  readonly reached: string;
  readonly delivered: boolean;
  readonly active: boolean;
}

/**
 * Waits until everything that was committed before the call is in ClickHouse, or in quarantine. It takes up to about two
 * seconds more than the delivery, because an idle streamer reports its position once a second.
 *
 * Call it after COMMIT: events of an open transaction are not delivered. The role needs SELECT on outbox.stream.
 *
 * @param query a client or pool of `pg`, a drizzle database over it, or a function `(sql, params) => rows`
 * @throws OutboxError OUTBOX_TEST_NOT_DELIVERED, with the position reached; OUTBOX_PG_NOT_MIGRATED when outbox.stream has no
 *   such slot; OUTBOX_TEST_UNSUPPORTED; whatever the driver throws
 */
export async function untilDelivered(query: Queryable, options: DeliveredOptions = {}): Promise<void> {
  const { slot, timeoutMs = 10_000 } = options;
  const schema = schemaIn(options);
  const end = performance.now() + timeoutMs;
  if (slot !== undefined && !/^[a-z0-9_]{1,63}$/.test(slot)) throw noSlot(schema, slot);
  const [wal] = await ask<{ lsn: string }>(query, walEnd());
  const sql = reachedSql(schema, wal!.lsn, slot === undefined ? 'true' : `l.slot_name ${EQUAL} '${slot}'`);
  for (;;) {
    const streams = await ask<Reached>(query, sql);
    if (streams.length === 0) throw noSlot(schema, slot);
    const behind = streams.filter(({ delivered }) => !delivered);
    if (behind.length === 0) return;
    if (performance.now() > end) {
      const problems = behind.map(
        ({ slot: name, reached, active }) =>
          `slot ${name}: delivered up to ${reached}${active ? '' : '; no streamer holds it'}`,
      );
      const detail = `What was committed before ${wal!.lsn} was not delivered within ${timeoutMs} ms.`;
      throw new OutboxError('OUTBOX_TEST_NOT_DELIVERED', { detail, problems });
    }
    await sleep(POLL_MS);
  }
}

function noSlot(schema: string, slot: string | undefined): OutboxError {
  const detail =
    slot === undefined
      ? `${schema}.stream knows no slot.`
      : `${schema}.stream has no row for the slot ${JSON.stringify(slot)}.`;
  return new OutboxError('OUTBOX_PG_NOT_MIGRATED', { detail });
}
