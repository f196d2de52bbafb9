import { partOf } from '../ledger/shares.ts';
import type { Database } from '../source/database.ts';
import { IS_OF_ITS_DAY } from '../source/event-table.ts';
import type { Leaf } from './leaves.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

/**
 * Names an hour of a partition's day that has events and no manifest yet, of any slot that delivers them; undefined where there is none.
 * Once the partition is emptied, nothing could witness them any more. Rows that somebody has put there by hand count for nothing.
 */
export async function unwitnessed(db: Database, { quoted, oldestMs }: Leaf): Promise<string | undefined> {
  if (oldestMs === undefined) return undefined;
  const began = Math.floor(oldestMs / DAY_MS) * DAY_MS;
  const hours = Array.from({ length: 24 }, (_, hour) => new Date(began + hour * HOUR_MS).toISOString());
  const { rows: slots } = await db.query<{ slot: string; source: string }>(
    'SELECT slot_name AS slot, source FROM outbox.stream ORDER BY slot_name',
  );
  for (const { slot, source } of slots) {
    const part = await partOf(db, slot);
    const { rows } = await db.query<{ ms: number }>(
      'SELECT (extract(epoch FROM hour) * 1000)::float8 AS ms FROM outbox.manifest WHERE source = $1 AND hour = ANY($2::timestamptz[])',
      [source, hours],
    );
    const made = new Set(rows.map(({ ms }) => new Date(ms).toISOString()));
    // of few hours or of none, so that the partition is hardly ever read for it
    for (const hour of hours.filter((each) => !made.has(each))) {
      const { count } = await db.query(
        `SELECT FROM ONLY ${quoted} WHERE recorded_at >= $1 AND recorded_at < $1::timestamptz + interval '1 hour' AND ${IS_OF_ITS_DAY}
            ${part === '' ? '' : `AND (${part})`} LIMIT 1`,
        [hour],
      );
      if (count > 0)
        return `the hour ${hour.slice(0, 16)}Z of it has no manifest of "${slot}" yet (OUTBOX_MANIFESTS=on): the log of its streamer says what holds it up`;
    }
  }
  return undefined;
}
