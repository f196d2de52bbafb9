import { formatLsn, type Lsn } from './lsn.ts';

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
