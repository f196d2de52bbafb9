import { formatLsn } from './lsn.ts';
import type { Lsn } from './lsn.ts';

/**
 * Where an event stands in the stream: the start of its transaction's commit record, and its number among the outbox rows
 * of that transaction, from 1. Strictly increasing, and the same at every redelivery.
 */
export interface Position {
  readonly lsn: Lsn;
  readonly seq: number;
}

/** Before every event. */
export const START: Position = { lsn: 0, seq: 0 };

/** Negative, zero or positive, as `a` stands before, at or behind `b`. */
export function comparePositions(a: Position, b: Position): number {
  return a.lsn - b.lsn || a.seq - b.seq;
}

export function formatPosition({ lsn, seq }: Position): string {
  return `${formatLsn(lsn)}:${seq}`;
}

/** What an insert is known by before it is sent. */
export interface Intent {
  readonly source: string;
  readonly timeline: number;
  /** Its rows are those of the range (from, to]. */
  readonly from: Position;
  readonly to: Position;
  /** ms since 1970 */
  readonly atMs: number;
}

/**
 * The deduplication token of an insert: who sends it, on which timeline, the range (from, to], and when it was intended.
 * Without the timeline, a position that is used again after a failover would be dropped as a repetition; without the time, one
 * that is used again on the same timeline, after the server's disk was set back.
 */
export function tokenOf({ source, timeline, from, to, atMs }: Intent): string {
  return `${source}/${timeline}/${formatPosition(from)}-${formatPosition(to)}@${atMs}`;
}

/** The token of one of the inserts that the rows of a token go out in. */
export function tokenOfInsert(token: string, index: number, inserts: number): string {
  return inserts === 1 ? token : `${token}/${index + 1}of${inserts}`;
}
