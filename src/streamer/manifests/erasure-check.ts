import type { ClickHouse } from '../clickhouse/client.ts';
import { whereCurrent } from '../clickhouse/current.ts';

/** What an erasure has left: how many tombstones, and the SHA-256 over them in hex. */
export interface ErasureRecord {
  readonly id: string;
  readonly events: number;
  readonly tombstones: string;
}

export interface ErasureFault {
  readonly source: string;
  readonly count: number;
  readonly why: string;
}

interface Found extends ErasureRecord {
  readonly sources: readonly string[];
}

/**
 * Tombstones that no erasure accounts for: who removes an event could put one in its place. Each erasure has noted how many it left, and
 * their SHA-256, in ClickHouse and in Postgres.
 *
 * @param there those that Postgres has; undefined where it was not asked
 * @param isOfThere whether a source is of the outbox that was asked
 */
export async function erasureFaults(
  clickhouse: ClickHouse,
  table: string,
  there: readonly ErasureRecord[] | undefined,
  isOfThere: (source: string) => boolean,
): Promise<ErasureFault[]> {
  const [tombstones, erasures] = [`${table}_erased`, `${table}_erasures`];
  if (!(await exists(clickhouse, tombstones))) return [];
  const found = await clickhouse.select<Found>(
    `SELECT id, groupUniqArray(origin) AS sources, toUInt32(count()) AS events,
            lower(hex(SHA256(arrayStringConcat(arraySort(groupArray(both)))))) AS tombstones
       FROM (SELECT DISTINCT erasure AS id, toString(source) AS origin, concat(witnessed, delivered) AS both FROM {name:Identifier}
              WHERE ${await whereCurrent(clickhouse, tombstones)})
      GROUP BY id ORDER BY id`,
    { name: tombstones },
  );
  const here = (await exists(clickhouse, erasures))
    ? await clickhouse.select<ErasureRecord>(
        `SELECT erasure AS id, toUInt32(events) AS events, tombstones FROM {name:Identifier} FINAL WHERE ${await whereCurrent(clickhouse, erasures)}`,
        { name: erasures },
      )
    : [];
  return found.flatMap((erasure) => {
    const isAsked = there !== undefined && erasure.sources.some(isOfThere);
    const why = whyNot(erasure, here, erasures) ?? (isAsked ? whyNot(erasure, there, 'Postgres') : undefined);
    return why === undefined ? [] : [{ source: erasure.sources[0]!, count: erasure.events, why }];
  });
}

function whyNot(
  { id, events, tombstones }: Found,
  records: readonly ErasureRecord[],
  where: string,
): string | undefined {
  const record = records.find((one) => one.id === id);
  if (record === undefined)
    return `${where} has no erasure ${id} that has ended, and there are ${events} tombstones of it`;
  if (record.events === events && record.tombstones === tombstones) return undefined;
  return `the ${events} tombstones of the erasure ${id} are not the ${record.events} that it left, as ${where} has them`;
}

async function exists(clickhouse: ClickHouse, name: string): Promise<boolean> {
  const rows = await clickhouse.select(
    'SELECT 1 FROM system.tables WHERE database = currentDatabase() AND name = {name:String}',
    { name },
  );
  return rows.length > 0;
}
