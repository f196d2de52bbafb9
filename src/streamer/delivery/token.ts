import { formatPosition, type Position } from '../../position.ts';

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
