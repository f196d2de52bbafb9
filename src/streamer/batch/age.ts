import type { Histogram } from '../observe/histogram.ts';
import type { Batch } from './batch.ts';
import type { Rows } from './rows.ts';

const TWO_32 = 0x1_0000_0000;
const MICROSECONDS = 1_000_000;

/**
 * Adds the age in seconds of each of some rows of a batch, from the commit of its transaction until `nowMs` (since 1970). A
 * transaction's rows have one age and are added at once; nothing is allocated for a row. The commit's time is the server's:
 * where its clock is ahead, an event has no age.
 */
export function addAges(batch: Batch, rows: Rows, nowMs: number, ages: Histogram): void {
  let high = 0;
  let low = 0;
  let alike = 0;
  for (const part of batch.committedAt.partsOf([rows], 8)) {
    for (let at = 0; at < part.length; at += 8) {
      const nextLow = part.readInt32LE(at);
      const nextHigh = part.readInt32LE(at + 4);
      if (nextLow === low && nextHigh === high) alike++;
      else {
        if (alike > 0) ages.add(age(high, low, nowMs), alike);
        low = nextLow;
        high = nextHigh;
        alike = 1;
      }
    }
  }
  if (alike > 0) ages.add(age(high, low, nowMs), alike);
}

function age(high: number, low: number, nowMs: number): number {
  return Math.max(0, nowMs / 1000 - seconds(high, low));
}

/** When a row's transaction was committed, in seconds since 1970. */
export function committedSecondsOf(batch: Batch, row: number): number {
  const value = batch.committedAt.value(row, 8);
  return seconds(value.readInt32LE(4), value.readInt32LE(0));
}

function seconds(high: number, low: number): number {
  return (high * TWO_32 + (low >>> 0)) / MICROSECONDS;
}
