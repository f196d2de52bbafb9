import { IdList } from './id-list.ts';
import type { TableView, TypedRow } from './table.ts';
import type { Typing } from './typing.ts';
import type { Window } from './window.ts';

/** Rows that are looked at once more together, so that none is held for longer. */
const MAX_SUSPECTS = 50_000;

/**
 * Rows of the window, committed since a time, whose typed column is neither what the streamer's inserts give nor what ClickHouse
 * itself fills in: after a mutation that restores it, or in a column added later, texts that look like times are times.
 */
export async function* mistypedRows(
  table: Pick<TableView, 'mistyped' | 'mistypedAnyhow'>,
  typing: Typing,
  window: Window,
  since: bigint,
): AsyncGenerator<TypedRow, void, undefined> {
  const ids = new IdList(MAX_SUSPECTS);
  const suspects = new Set<string>();
  const again = async function* (): AsyncGenerator<TypedRow, void, undefined> {
    if (suspects.size === 0) return;
    for await (const rows of table.mistypedAnyhow(typing, ids)) yield* rows.filter((row) => suspects.has(keyOf(row)));
    suspects.clear();
    ids.clear();
  };
  for await (const rows of table.mistyped(typing, window, since))
    for (const row of rows) {
      suspects.add(keyOf(row));
      ids.add(row.id);
      if (ids.isFull) yield* again();
    }
  yield* again();
}

/** Events may share an id, and rows a position. */
function keyOf({ id, atLsn, atSeq }: TypedRow): string {
  return `${id} ${atLsn} ${atSeq}`;
}
