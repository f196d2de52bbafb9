import { setTimeout as sleep } from 'node:timers/promises';
import type { Database } from '../source/database.ts';
import type { Hour } from './manifest.ts';

const HOUR_US = 3_600_000_000;
/** Between the time at which a transaction begins and the moment at which others can see it. */
const MARGIN_US = 60_000_000;
/** An hour is closed at the latest so long after it: what is committed later makes a further part. */
const AT_LATEST_US = 24 * HOUR_US;
const PATIENCE_MS = 2000;
const POLL_MS = 50;

/**
 * Which hours no transaction can add an event to: recorded_at is the time at which it began. So an hour is over once every transaction
 * is that ran at some moment after it. Every role may see which transactions there are, by their locks on themselves, and not since when.
 */
export class ClosedHours {
  /** Transactions that ran at a moment, µs since 1970, and have not been seen to be over. */
  #running: { readonly at: number; readonly transactions: ReadonlySet<string> } | undefined;
  /** All that began before it are over. */
  #overAt = 0;

  /** The first hour that is not closed. Waits a moment for short transactions. Throws OUTBOX_PG_*. */
  async until(db: Database): Promise<Hour> {
    const end = performance.now() + PATIENCE_MS;
    for (;;) {
      const { at, transactions } = await running(db);
      const isOver = this.#running !== undefined && ![...this.#running.transactions].some((id) => transactions.has(id));
      if (isOver) this.#overAt = this.#running!.at;
      if (isOver || this.#running === undefined) this.#running = { at, transactions };
      if (transactions.size === 0) this.#overAt = at;
      if (isOver || transactions.size === 0 || performance.now() > end)
        return Math.floor(Math.max(this.#overAt - MARGIN_US, at - AT_LATEST_US) / HOUR_US);
      await sleep(POLL_MS);
    }
  }
}

async function running(db: Database): Promise<{ at: number; transactions: Set<string> }> {
  // before they are listed: one that begins in between is not in the way
  const { rows: times } = await db.query<{ at: string }>(
    'SELECT floor(extract(epoch FROM clock_timestamp()) * 1000000)::text AS at',
  );
  const { rows } = await db.query<{ id: string }>(
    `SELECT DISTINCT virtualtransaction AS id FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
      WHERE (locktype = 'virtualxid' AND granted AND mode = 'ExclusiveLock' AND l.pid <> pg_backend_pid() AND a.usesysid IS NOT NULL
             AND a.datid = (SELECT oid FROM pg_database WHERE datname = current_database()))
         -- prepared ones have no process
         OR (l.pid IS NULL AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()))`,
  );
  return { at: Number(times[0]!.at), transactions: new Set(rows.map(({ id }) => id)) };
}
