import { OutboxError } from '../../errors.ts';
import { whereCurrent } from '../clickhouse/current.ts';
import type { TableOptions } from '../compare/table.ts';
import type { IdList } from '../compare/id-list.ts';

/**
 * Makes sure that ClickHouse has none of these events under another source: another slot, or another cluster of which this one is a
 * copy, may have delivered them, and to send them would count each of them twice. Throws OUTBOX_REPAIR_OTHER_SOURCE, OUTBOX_CH_*.
 */
export async function refuseOtherSource({ clickhouse, table, source }: TableOptions, ids: IdList): Promise<void> {
  const current = await whereCurrent(clickhouse, table);
  const found = clickhouse.stream<{ source: string; events: string }>(
    `SELECT source, toString(uniqExact(event_id)) AS events FROM {table:Identifier}
      WHERE ${current} AND source != {source:String} AND event_id IN (SELECT toUUID(arrayJoin(splitByChar(',', '${ids.text}'))))
      GROUP BY source ORDER BY source`,
    { table, source },
  );
  const problems: string[] = [];
  for await (const rows of found)
    problems.push(...rows.map(({ source: other, events }) => `${events} have the source ${JSON.stringify(other)}`));
  if (problems.length === 0) return;
  throw new OutboxError('OUTBOX_REPAIR_OTHER_SOURCE', {
    detail: `of ${ids.size} missing events of the source "${source}", ClickHouse has some under another source`,
    problems,
  });
}
