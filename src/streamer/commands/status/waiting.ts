import type { Database } from '../../source/database.ts';

const DAY_MS = 86_400_000;
const BUCKETS = 32;
/** So many blocks are counted; of more, a part is, and the rest is taken to be alike. */
const COUNTED_BLOCKS = 256;
const SAMPLED_BLOCKS = 32;

/** Events in outbox.event that are younger than a moment. */
export interface Younger {
  /** Exact when few, an estimate when many. */
  readonly events: number;
  /** The start of the oldest one's transaction, ms since 1970; undefined without events. */
  readonly oldestMs: number | undefined;
}

interface Part {
  readonly table: string;
  readonly from: number;
  readonly to: number;
}

/**
 * Looks up how many events were recorded after a moment, without an index and without reading them all: each day's partition is
 * a heap in the order of time, in which the first younger block is found by halving. Throws OutboxErrors OUTBOX_PG_*.
 */
export async function youngerThan(db: Database, sinceMs: number): Promise<Younger> {
  const today = Math.floor(Date.now() / DAY_MS);
  const sinceDay = Math.floor(sinceMs / DAY_MS);
  let events = 0;
  let oldestMs: number | undefined;
  for (let day = Math.max(sinceDay, today - BUCKETS + 1); day <= today; day++) {
    const table = `outbox.event_${String(day % BUCKETS).padStart(2, '0')}`;
    const blocks = await blocksOf(db, table);
    const from = day === sinceDay ? await firstYounger(db, table, blocks, sinceMs) : 0;
    const part = await count(db, { table, from, to: blocks }, sinceMs);
    events += part.events;
    oldestMs ??= part.oldestMs;
  }
  return { events, oldestMs };
}

async function blocksOf(db: Database, table: string): Promise<number> {
  const { rows } = await db.query<{ blocks: number }>(
    "SELECT (pg_relation_size(to_regclass($1)) / current_setting('block_size')::int)::int AS blocks",
    [table],
  );
  return rows[0]?.blocks ?? 0;
}

async function firstYounger(db: Database, table: string, blocks: number, sinceMs: number): Promise<number> {
  let low = 0;
  let high = blocks;
  while (low < high) {
    const middle = (low + high) >> 1;
    const { events } = await read(db, { table, from: middle, to: middle + 1 }, sinceMs);
    if (events > 0) high = middle;
    else low = middle + 1;
  }
  return low;
}

async function count(db: Database, part: Part, sinceMs: number): Promise<Younger> {
  const { table, from, to } = part;
  if (to - from <= COUNTED_BLOCKS) return read(db, part, sinceMs);
  const first = await read(db, { table, from, to: from + SAMPLED_BLOCKS }, sinceMs);
  const last = await read(db, { table, from: to - SAMPLED_BLOCKS, to }, sinceMs);
  const perBlock = (first.events + last.events) / (2 * SAMPLED_BLOCKS);
  return { events: Math.round(perBlock * (to - from)), oldestMs: first.oldestMs ?? last.oldestMs };
}

async function read(db: Database, { table, from, to }: Part, sinceMs: number): Promise<Younger> {
  if (to <= from) return { events: 0, oldestMs: undefined };
  const { rows } = await db.query<{ events: number; oldest: number | null }>(
    `SELECT count(*)::int AS events, (extract(epoch FROM min(recorded_at)) * 1000)::float8 AS oldest FROM ${table}
      WHERE ctid >= ('(' || $1::int || ',0)')::tid AND ctid < ('(' || $2::int || ',0)')::tid
        AND recorded_at > to_timestamp($3::float8 / 1000)`,
    [from, to, sinceMs],
  );
  const { events = 0, oldest = null } = rows[0] ?? {};
  return { events, oldestMs: oldest ?? undefined };
}
