/** Rows [from, to) of a batch. */
export interface Rows {
  readonly from: number;
  readonly to: number;
}

/** Some rows in so many runs, as equal as can be: the same ones whenever it is asked (invariant 4). */
export function sharesOf({ from, to }: Rows, count: number): Rows[] {
  const at = (index: number): number => from + Math.floor((index * (to - from)) / count);
  return Array.from({ length: count }, (_, index) => ({ from: at(index), to: at(index + 1) }));
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
