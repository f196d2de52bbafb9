import { parseLsn, type Lsn } from '../../lsn.ts';
import type { Database } from '../source/database.ts';
import { applicationNameOf, isStreamerConnection } from '../source/streamer-connection.ts';
import { PUBLISHED_LSN, PUBLISHED_OLDEST_MS } from './published.ts';
import { noLedger } from './row.ts';

/** Who holds a slot and how far it is delivered, by what every role may see of connections. */
export interface Holder {
  /** Counts the takeovers; 0 when no streamer was ever started. */
  readonly epoch: number;
  /** Process ids of its two connections in Postgres; undefined when they are not there, and where another program holds the slot. */
  readonly walsender: number | undefined;
  readonly backend: number | undefined;
  /**
   * Since its last statement, of which there is one a second; undefined where this role may not see it, and while a statement
   * runs: what hangs then is Postgres.
   */
  readonly silentSeconds: number | undefined;
  /** When the oldest was committed that it has not delivered, in ms since 1970. */
  readonly oldestMs: number | undefined;
  /** Other connections of streamers to this database. */
  readonly standbys: number;
  /** What was committed before it is delivered, by the word of whoever knows most. */
  readonly reached: Lsn;
}

interface Row {
  epoch: string;
  walsender: number | null;
  backend: number | null;
  silent: number | null;
  oldest: number | null;
  standbys: number;
  reached: string;
}

/**
 * Each of four says that what was committed before it is delivered: the slot's confirmed position; what the walsender was told
 * last, which needs pg_read_all_stats to be seen; what the streamer publishes once a second; and the ledger, which is the first to
 * know, but does not move when there is nothing to deliver. Throws OUTBOX_PG_NOT_MIGRATED and other OutboxErrors OUTBOX_PG_*.
 */
export async function holderOf(db: Database, slot: string): Promise<Holder> {
  const { rows } = await db.query<Row>(
    `SELECT l.epoch, w.pid AS walsender, a.pid AS backend,
            CASE WHEN a.state <> 'active' THEN extract(epoch FROM clock_timestamp() - a.state_change)::int END AS silent, ${PUBLISHED_OLDEST_MS} AS oldest,
            (SELECT count(*)::int FROM pg_stat_activity o
              WHERE o.datname = current_database() AND o.application_name = $2 AND ${isStreamerConnection('o')} AND o.pid <> pg_backend_pid()
                -- those of other shares hold slots, too
                AND NOT EXISTS (SELECT FROM outbox.stream h WHERE h.holder_pid = o.pid)
                AND NOT EXISTS (SELECT FROM pg_replication_slots h WHERE h.active_pid = o.pid)) AS standbys,
            -- with its end, a slot has delivered all that ever will be its own
            CASE WHEN l.ends_in IS NOT NULL AND x.reached >= l.ends_lsn THEN greatest(x.reached, pg_current_wal_lsn()) ELSE x.reached END AS reached
       FROM outbox.stream l
       LEFT JOIN pg_replication_slots s ON s.slot_name = l.slot_name AND s.database = current_database()
       LEFT JOIN pg_stat_replication r ON r.pid = s.active_pid
       LEFT JOIN pg_stat_activity w ON w.pid = s.active_pid AND ${isStreamerConnection('w')}
       LEFT JOIN pg_stat_activity a ON a.pid = l.holder_pid AND s.active AND ${isStreamerConnection('a')}
       CROSS JOIN LATERAL (SELECT greatest(l.delivered_lsn, s.confirmed_flush_lsn, r.replay_lsn, ${PUBLISHED_LSN}) AS reached) x
      WHERE l.slot_name = $1`,
    [slot, applicationNameOf(db.schema)],
  );
  const [row] = rows;
  if (row === undefined) throw noLedger(db, slot);
  return {
    epoch: Number(row.epoch),
    walsender: row.walsender ?? undefined,
    backend: row.backend ?? undefined,
    silentSeconds: row.silent ?? undefined,
    oldestMs: row.oldest ?? undefined,
    standbys: row.standbys,
    reached: parseLsn(row.reached),
  };
}
