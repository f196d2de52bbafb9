import { randomInt } from 'node:crypto';
import type { ClickHouse } from '../clickhouse/client.ts';
import { whereCurrent } from '../clickhouse/current.ts';
import type { Database } from '../source/database.ts';
import type { Leaf } from './leaves.ts';

/** About so many rows of a partition are looked for, from blocks that are chosen at random. */
const ROWS = 200;
const BLOCKS = 40;
/** A table may hold whole seconds only. */
const LONGEST_STEP_US = 1_000_000n;

interface Sampled {
  id: string;
  type: string;
  /** Microseconds since 1970. */
  us: string;
}

interface Where {
  readonly db: Database;
  readonly clickhouse: ClickHouse;
  readonly table: string;
  /** Which of the events should be there, see partOf. */
  readonly part: string;
}

/**
 * Looks for some events of a partition in ClickHouse and in quarantine, before Postgres' copy of them goes. Returns what speaks
 * against that: fewer than half of them are there. Rows that were deleted in ClickHouse on purpose are missing, too, so not all
 * need to be. Throws OutboxErrors OUTBOX_CH_* and OUTBOX_PG_*.
 */
export async function lackOf(
  { quoted, blocks }: Leaf,
  { db, clickhouse, table, part }: Where,
): Promise<string | undefined> {
  // which they are is not to be known before
  const chosen = blocks <= BLOCKS ? range(blocks) : [...new Set(range(BLOCKS).map(() => randomInt(blocks)))];
  const limit = Math.ceil(ROWS / chosen.length);
  const samples = chosen.map(
    (block) =>
      `(SELECT event_id AS id, event_type AS type, (extract(epoch FROM event_date_time) * 1000000)::int8::text AS us
          FROM ONLY ${quoted} WHERE ctid >= '(${block},0)' AND ctid < '(${block + 1},0)'
           ${part === '' ? '' : `AND ${part} `}AND event_date_time BETWEEN '1900-01-02Z' AND '2262-01-01Z' LIMIT ${limit})`,
  );
  if (samples.length === 0) return undefined;
  const { rows } = await db.query<Sampled>(samples.join(' UNION '));
  if (rows.length === 0) return undefined;
  const ids = [...new Set(rows.map(({ id }) => id))];
  const times = rows.map(({ us }) => BigInt(us)).toSorted((a, b) => (a < b ? -1 : 1));
  const current = await whereCurrent(clickhouse, table);
  const [found] = await clickhouse.select<{ n: number }>(
    `SELECT toUInt32(uniqExact(event_id)) AS n FROM {table:Identifier}
      WHERE event_type IN {types:Array(String)} AND event_id IN {ids:Array(UUID)}
        AND event_date_time BETWEEN fromUnixTimestamp64Micro(${times[0]! - LONGEST_STEP_US}, 'UTC') AND fromUnixTimestamp64Micro(${times.at(-1)}, 'UTC')
        AND ${current}`,
    { table, ids, types: [...new Set(rows.map(({ type }) => type))] },
  );
  const aside = await db.query<{ n: number }>(
    'SELECT count(DISTINCT event_id)::int AS n FROM outbox.quarantine WHERE event_id = ANY($1::pg_catalog.uuid[])',
    [ids],
  );
  const there = found!.n + aside.rows[0]!.n;
  if (there >= ids.length / 2) return undefined;
  return `${there} of ${ids.length} events of it that were looked for are in ClickHouse’s table "${table}": run \`verify\`, then \`repair\``;
}

const range = (length: number): number[] => Array.from({ length }, (_, n) => n);
