/** Rows [from, to) of a batch. */
export interface Rows {
  readonly from: number;
  readonly to: number;
}

export function countRows(runs: readonly Rows[]): number {
  return runs.reduce((count, { from, to }) => count + to - from, 0);
}

/** The rows among those given that `keep` wants, as runs that are as long as can be. */
export function runsOf(rows: Rows, keep: (row: number) => boolean): Rows[] {
  const runs: Rows[] = [];
  let from = rows.from;
  for (let row = rows.from; row <= rows.to; row++) {
    if (row < rows.to && keep(row)) continue;
    if (row > from) runs.push({ from, to: row });
    from = row + 1;
  }
  return runs;
}
