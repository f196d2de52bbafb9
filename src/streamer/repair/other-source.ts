import { OutboxError } from '../../errors.ts';
import type { IdList } from '../compare/id-list.ts';
import type { TableView } from '../compare/table.ts';

/**
 * Makes sure that ClickHouse does not have these missing events after all: another slot, or another cluster of which this one is a copy,
 * may have delivered them, and to send them would count each of them twice. Throws OUTBOX_REPAIR_OTHER_SOURCE, OUTBOX_CH_*.
 *
 * @param isMissing of an id and a digest. Under this source other events may share the id, and come behind the snapshot.
 */
export async function refuseOtherSource(
  table: TableView,
  source: string,
  ids: IdList,
  isMissing: (id: string, digest: string) => boolean,
): Promise<void> {
  const found = new Map<string, Set<string>>();
  for await (const rows of table.outOfView(ids))
    for (const { of, id, digest } of rows) {
      if (of === source && !isMissing(id, digest)) continue;
      found.set(of, (found.get(of) ?? new Set()).add(id));
    }
  if (found.size === 0) return;
  throw new OutboxError('OUTBOX_REPAIR_OTHER_SOURCE', {
    detail: `of ${ids.size} missing events of the source "${source}", ClickHouse has some elsewhere`,
    problems: [...found].map(([of, { size }]) =>
      of === source
        ? `${size} were delivered less than a minute ago, from another cluster’s positions: repair again in a minute`
        : `${size} have the source ${JSON.stringify(of)}`,
    ),
  });
}
