import { FIRST_US, LAST_US } from '../clickhouse/event-time.ts';

const TWO_32 = 0x1_0000_0000;

/** An Int64 in two halves: the upper one signed, the lower one not. */
export interface Int64 {
  high: number;
  low: number;
}

const halves = (value: bigint): Readonly<Int64> => ({
  high: Number(value >> 32n),
  low: Number(value & 0xffff_ffffn),
});

const EPOCH_2000 = halves(946_684_800_000_000n);
const MIN = halves(FIRST_US);
const MAX = halves(LAST_US);

/**
 * Reads a Postgres timestamptz (Int64, big-endian, µs since 2000-01-01; the extremes are ∓infinity) into µs since 1970,
 * the value of ClickHouse's DateTime64(6). Returns false when it had to be clamped to what DateTime64(6) holds: added up
 * carelessly, infinity would wrap to the year 0.
 */
export function readTimestamp(buffer: Buffer, offset: number, into: Int64): boolean {
  const low = buffer.readUInt32BE(offset + 4) + EPOCH_2000.low;
  const carry = low >= TWO_32 ? 1 : 0;
  into.high = buffer.readInt32BE(offset) + EPOCH_2000.high + carry;
  into.low = carry === 1 ? low - TWO_32 : low;
  if (into.high < MIN.high || (into.high === MIN.high && into.low < MIN.low)) return clamp(into, MIN);
  if (into.high > MAX.high || (into.high === MAX.high && into.low > MAX.low)) return clamp(into, MAX);
  return true;
}

/** Milliseconds since 1970 as µs since 1970. */
export function fromMilliseconds(milliseconds: number): Int64 {
  return { ...halves(BigInt(milliseconds) * 1000n) };
}

function clamp(into: Int64, bound: Readonly<Int64>): false {
  into.high = bound.high;
  into.low = bound.low;
  return false;
}
