import { OutboxError } from '../../errors.ts';
import type { EventTime } from '../clickhouse/event-time.ts';
import { quarantinedRows } from '../compare/digest.ts';
import { unequal, type Keyed } from '../compare/merge.ts';
import type { OutboxSnapshot } from '../compare/outbox.ts';
import { listLeaves } from '../retention/leaves.ts';
import type { Database } from '../source/database.ts';
import { isoHour, type Hour } from './manifest.ts';
import type { HourlyDigests } from './table-digests.ts';
import { MAX_NAMED } from './tally.ts';

/** An hour as Postgres has it, beside what ClickHouse has. */
export interface Testimony {
  /** Rows of it that the outbox has. */
  readonly rows: number;
  /** Digests of rows that ClickHouse does not have, in order. */
  readonly missing: readonly string[];
  /** Events that the outbox does not have. */
  readonly extra: number;
}

/** The first hour of the day of the oldest event that the outbox has. Throws OUTBOX_PG_*. */
export async function oldestHour(db: Database): Promise<Hour> {
  const times = (await listLeaves(db, 0)).flatMap(({ oldestMs }) => (oldestMs === undefined ? [] : [oldestMs]));
  const oldest = times.length === 0 ? Date.now() : Math.min(...times);
  return Math.max(0, Math.floor(oldest / 86_400_000) * 24);
}

/** The rows of an hour, as a condition on the columns of outbox.event. */
export function inHour(hour: Hour): string {
  const [at, before] = [isoHour(hour), isoHour(hour + 1)];
  return `recorded_at >= '${at}' AND recorded_at < '${before}'`;
}

/** The same, of the partition of that day alone: what the server itself has put there. */
export const ofItsDay = (hour: Hour): string => `bucket = ${Math.floor(hour / 24) % 32} AND ${inHour(hour)}`;

/**
 * Compares the rows of outbox.event that meet a condition with the events of an hour, both by the digests that both servers have. What was
 * erased is in ClickHouse alone by right. Reads both streams to their end. Throws OUTBOX_PG_*, OUTBOX_CH_*.
 */
export async function testimonyOf(
  snapshot: OutboxSnapshot,
  condition: string,
  events: AsyncIterable<readonly HourlyDigests[]>,
): Promise<Testimony> {
  let [rows, extra] = [0, 0];
  const missing: string[] = [];
  const outbox = async function* (): AsyncGenerator<Keyed[], void, undefined> {
    for await (const chunk of snapshot.witnessed(condition)) {
      rows += chunk.length;
      yield chunk.map(keyed);
    }
  };
  const table = async function* (): AsyncGenerator<Keyed[], void, undefined> {
    for await (const chunk of events)
      yield chunk.filter((event) => !event.isErased).map((event) => keyed(event.witnessed));
  };
  for await (const { id, left, copies, right } of unequal(outbox(), table())) {
    for (const { count } of [...copies, ...right]) extra += count;
    for (const { count } of left) for (let n = 0; n < count; n++) if (missing.length <= MAX_NAMED) missing.push(id);
  }
  return { rows, missing, extra };
}

const keyed = (digest: string): Keyed => ({ id: digest, digest: '' });

/** How many of these digests are not those of events in quarantine, discarded or not, each as often as it is there. Throws OUTBOX_PG_*. */
export async function unexplained(
  db: Database,
  { slot, hour, dates }: { readonly slot: string; readonly hour: Hour; readonly dates: EventTime },
  digests: readonly string[],
): Promise<number> {
  if (digests.length === 0) return 0;
  if (digests.length > MAX_NAMED) return digests.length;
  const { rows } = await db.query<{ w: string; n: number }>(
    `SELECT encode(witnessed, 'hex') AS w, count(*)::int AS n
       FROM (${quarantinedRows(`slot_name = $1 AND ${inHour(hour)}`, dates)}) AS e GROUP BY 1`,
    [slot],
  );
  const known = new Map(rows.map(({ w, n }) => [w, n]));
  let strange = 0;
  for (const digest of digests) {
    const left = known.get(digest) ?? 0;
    if (left > 0) known.set(digest, left - 1);
    else strange++;
  }
  return strange;
}

/** No manifest is made of what the two sides do not agree on. */
export function differs(source: string, hour: Hour, what: string): OutboxError {
  return new OutboxError('OUTBOX_MANIFEST_DIFFERS', { detail: `${isoHour(hour)} of ${source}: ${what}` });
}
