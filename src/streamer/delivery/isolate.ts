import type { Rows } from '../batch/rows.ts';
import type { Rejection } from './reliable-insert.ts';

/** Rows that come after what is pending. */
interface RemainingRows {
  readonly rows: Rows;
  /** This session has looked for them after a rejection, and none is there. */
  readonly isAbsent: boolean;
}

/** Each resolves with the rejection of its insert, if ClickHouse rejects that permanently as well. */
export interface IsolateSteps {
  /** The pending rows shrink to their first part, which is inserted. */
  readonly split: (first: Rows, isPartlyThere: boolean) => Promise<Rejection | undefined>;
  /** What was pending is settled; the next rows become pending and are inserted. */
  readonly next: (rows: Rows, isAbsent: boolean) => Promise<Rejection | undefined>;
  /** The pending row, which stands alone, goes to quarantine and is settled by it. */
  readonly quarantine: (row: number, rejection: Rejection) => Promise<void>;
}

/**
 * Halves rows that ClickHouse rejects permanently until each event at fault stands alone, and puts those into quarantine (invariant
 * 7). The first part alone is pending at any time, so a successor repeats that and reads the rest from the stream again. Returns
 * how many events went to quarantine; the last part is then still pending, unless it was one of them.
 */
export async function isolate(all: Rows, first: Rejection, steps: IsolateSteps): Promise<number> {
  const remaining: RemainingRows[] = [];
  let rows = all;
  let rejection: Rejection | undefined = first;
  let quarantined = 0;
  for (;;) {
    if (rejection !== undefined && rows.to - rows.from > 1) {
      const { isPartlyThere } = rejection;
      const middle = (rows.from + rows.to) >> 1;
      remaining.push({ rows: { from: middle, to: rows.to }, isAbsent: !isPartlyThere });
      rows = { from: rows.from, to: middle };
      rejection = await steps.split(rows, isPartlyThere);
      continue;
    }
    if (rejection !== undefined) {
      await steps.quarantine(rows.from, rejection);
      quarantined++;
    }
    const next = remaining.pop();
    if (next === undefined) return quarantined;
    ({ rows } = next);
    rejection = await steps.next(rows, next.isAbsent);
  }
}
