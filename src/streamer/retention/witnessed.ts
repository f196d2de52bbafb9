import { partOf } from '../ledger/shares.ts';
import type { Database } from '../source/database.ts';
import { IS_OF_ITS_DAY } from '../source/event-table.ts';
import type { Leaf } from './leaves.ts';

/**
 * Says which hours of a partition have no manifest yet, of any slot that delivers them; undefined where each has one. Once the partition
 * is emptied, nothing could witness them any more. Rows that somebody has put there by hand count for nothing.
 */
export async function unwitnessed(db: Database, { quoted }: Leaf): Promise<string | undefined> {
  const { rows: slots } = await db.query<{ slot: string; source: string }>(
    'SELECT slot_name AS slot, source FROM outbox.stream ORDER BY slot_name',
  );
  for (const { slot, source } of slots) {
    const part = await partOf(db, slot);
    const { rows } = await db.query<{ hour: string; n: number }>(
      `SELECT to_char(min(hour) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI"Z"') AS hour, count(*)::int AS n
         FROM (SELECT DISTINCT date_trunc('hour', recorded_at, 'UTC') AS hour FROM ONLY ${quoted}
                WHERE ${IS_OF_ITS_DAY} AND recorded_at < now()${part === '' ? '' : ` AND (${part})`}) AS hours
        WHERE NOT EXISTS (SELECT FROM outbox.manifest m WHERE m.source = $1 AND m.hour = hours.hour) HAVING count(*) > 0`,
      [source],
    );
    const [left] = rows;
    if (left === undefined) continue;
    const hours = left.n === 1 ? 'one hour' : `${left.n} hours`;
    return `${hours} of it, the first ${left.hour}, ${left.n === 1 ? 'has' : 'have'} no manifest of "${slot}" yet (OUTBOX_MANIFESTS=on): the log of its streamer says what holds it up, \`doctor\` too`;
  }
  return undefined;
}
