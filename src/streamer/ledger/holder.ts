import { PACKAGE_NAME } from '../../package.ts';
import type { Database } from '../source/database.ts';

/** Who holds a slot, by what every role may see of connections. */
export interface Holder {
  /** Counts the takeovers; 0 when no streamer was ever started. */
  readonly epoch: number;
  /** Process ids of its two connections in Postgres; undefined when they are not there. */
  readonly walsender: number | undefined;
  readonly backend: number | undefined;
  /** The walsender calls itself a streamer. */
  readonly isStreamer: boolean;
  /** Since its last statement, of which there is one a second; undefined where this role may not see it. */
  readonly silentSeconds: number | undefined;
  /** Other connections of streamers to this database. */
  readonly standbys: number;
}

interface Row {
  epoch: string;
  walsender: number | null;
  backend: number | null;
  streamer: boolean | null;
  silent: number | null;
  standbys: number;
}

/** Undefined when the ledger has no row for the slot. Throws OutboxErrors OUTBOX_PG_*. */
export async function holderOf(db: Database, slot: string): Promise<Holder | undefined> {
  const { rows } = await db.query<Row>(
    `SELECT l.epoch, s.active_pid AS walsender, a.pid AS backend, starts_with(w.application_name, $2) AS streamer,
            extract(epoch FROM clock_timestamp() - a.state_change)::int AS silent,
            (SELECT count(*)::int FROM pg_stat_activity o
              WHERE o.datname = current_database() AND o.application_name = $2 AND o.pid <> pg_backend_pid()
                AND o.pid IS DISTINCT FROM l.holder_pid AND o.pid IS DISTINCT FROM s.active_pid) AS standbys
       FROM outbox.stream l
       LEFT JOIN pg_replication_slots s ON s.slot_name = l.slot_name
       LEFT JOIN pg_stat_activity w ON w.pid = s.active_pid
       LEFT JOIN pg_stat_activity a ON a.pid = l.holder_pid AND s.active AND starts_with(a.application_name, $2)
      WHERE l.slot_name = $1`,
    [slot, PACKAGE_NAME],
  );
  const [row] = rows;
  if (row === undefined) return undefined;
  return {
    epoch: Number(row.epoch),
    walsender: row.walsender ?? undefined,
    backend: row.backend ?? undefined,
    isStreamer: row.streamer === true,
    silentSeconds: row.silent ?? undefined,
    standbys: row.standbys,
  };
}

/** Bytes of WAL a second, on the average since the statistics were reset. */
export async function walRate(db: Database): Promise<number> {
  const { rows } = await db.query<{ rate: number | null }>(
    `SELECT (wal_bytes / nullif(extract(epoch FROM clock_timestamp() - coalesce(stats_reset, pg_postmaster_start_time())), 0))::float8 AS rate
       FROM pg_stat_wal`,
  );
  return rows[0]?.rate ?? 0;
}
