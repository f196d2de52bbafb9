import type { ClickHouse } from './client.ts';

/** What a column can hold of an event's date, µs since 1970. ClickHouse cuts what is finer off, and moves what is beyond to its end. */
export interface EventTime {
  /** µs of a step. */
  readonly step: bigint;
  readonly first: bigint;
  readonly last: bigint;
}

/** DateTime64(6) holds 1900-01-01 00:00:00 to 2299-12-31 23:59:59.999999, in µs since 1970. */
export const FIRST_US = BigInt(Date.UTC(1900, 0, 1)) * 1000n;
export const LAST_US = BigInt(Date.UTC(2300, 0, 1)) * 1000n - 1n;
/** DateTime64(6). */
export const MICROSECONDS: EventTime = { step: 1n, first: FIRST_US, last: LAST_US };
const SECOND = 1_000_000n;
/** 32 bits, unsigned: 1970-01-01 to 2106-02-07. */
const SECONDS: EventTime = { step: SECOND, first: 0n, last: (2n ** 32n - 1n) * SECOND };

/** Undefined for a type that holds no time: a Date, a text, a number. @param type without LowCardinality and Nullable */
export function eventTimeIn(type: string): EventTime | undefined {
  if (/^DateTime(?:\(|$)/.test(type)) return SECONDS;
  const digits = /^DateTime64\((\d)/.exec(type)?.[1];
  if (digits === undefined) return undefined;
  const step = Number(digits) < 6 ? 10n ** (6n - BigInt(digits)) : 1n;
  // nanoseconds fill 64 bits sooner
  const last = digits === '9' ? (2n ** 63n - 1n) / 1000n : LAST_US;
  return { step, first: FIRST_US, last: last - (last % step) };
}

/** What the table holds of event_date_time. Throws OUTBOX_CH_*. */
export async function eventTimeOf(clickhouse: ClickHouse, table: string): Promise<EventTime> {
  const [column] = await clickhouse.select<{ type: string }>(
    `SELECT type FROM system.columns
      WHERE database = currentDatabase() AND table = {table:String} AND name = 'event_date_time'`,
    { table },
  );
  return eventTimeIn(bare(column?.type ?? '')) ?? MICROSECONDS;
}

/** Without what changes how a type is stored, and not what it holds. */
export function bare(type: string): string {
  const inner = /^(?:LowCardinality|Nullable)\((.*)\)$/.exec(type)?.[1];
  return inner === undefined ? type : bare(inner);
}
