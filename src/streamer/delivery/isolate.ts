import type { Rows } from '../batch/rows.ts';
import type { Answer, Rejection } from './reliable-insert.ts';

/** For how many rejected events in a row one that the table has taken vouches: so many are set aside if it breaks meanwhile. */
const VOUCHES_FOR = 10;

/** Rows that come after what is pending. */
interface RemainingRows {
  readonly rows: Rows;
  /** This session has looked for them after a rejection, and none is there. */
  isAbsent: boolean;
}

/** Each resolves with what became of its insert. */
export interface IsolateSteps {
  /** The pending rows shrink to their first part, which is inserted. */
  readonly split: (first: Rows, isPartlyThere: boolean) => Promise<Answer>;
  /** What was pending is settled; the next rows become pending and are inserted. */
  readonly next: (rows: Rows, isAbsent: boolean) => Promise<Answer>;
  /**
   * The pending row stands alone, and the table has taken no other meanwhile. Resolves with its rejection once the table has taken a
   * neighbour and rejects the row again, or when it takes the row after all.
   */
  readonly confirm: (row: number, rejection: Rejection) => Promise<Answer>;
  /** The pending row goes to quarantine and is settled by it. */
  readonly quarantine: (row: number, rejection: Rejection) => Promise<void>;
}

/**
 * Halves rows that ClickHouse rejects until each event at fault stands alone, and puts those into quarantine (invariant 7): those
 * that are rejected while the table takes others. The first part alone is pending at any time, so a successor repeats that and reads
 * the rest from the stream again. Returns how many events went to quarantine; the last part is then still pending, unless it was
 * one of them.
 */
export async function isolate(all: Rows, first: Rejection, steps: IsolateSteps): Promise<number> {
  const remaining: RemainingRows[] = [];
  let rows = all;
  let answer: Answer = first;
  let quarantined = 0;
  /** How many more are at fault if they are rejected now: the table has taken others since the first rejection. */
  let vouchedFor = 0;
  for (;;) {
    if (typeof answer !== 'string' && rows.to - rows.from > 1) {
      const { isPartlyThere } = answer;
      const middle = (rows.from + rows.to) >> 1;
      remaining.push({ rows: { from: middle, to: rows.to }, isAbsent: !isPartlyThere });
      rows = { from: rows.from, to: middle };
      answer = await steps.split(rows, isPartlyThere);
      continue;
    }
    if (typeof answer !== 'string' && vouchedFor === 0) {
      answer = await steps.confirm(rows.from, answer);
      vouchedFor = VOUCHES_FOR;
      // the neighbour that the table has taken may be among them
      for (const later of remaining) later.isAbsent = false;
    }
    if (typeof answer !== 'string') {
      await steps.quarantine(rows.from, answer);
      quarantined++;
      vouchedFor--;
    } else if (answer === 'taken') vouchedFor = VOUCHES_FOR;
    const next = remaining.pop();
    if (next === undefined) return quarantined;
    ({ rows } = next);
    answer = await steps.next(rows, next.isAbsent);
  }
}
