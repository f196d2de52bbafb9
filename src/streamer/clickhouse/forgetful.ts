import type { TableName } from './absence.ts';
import type { ClickHouse } from './client.ts';
import { isReplicated } from './identity.ts';

/** A table that does not remember a thousand tokens, and the setting that makes it. */
export interface ForgetfulTable extends TableName {
  readonly setting: string;
}

/** Of what views fill, the tables that would count a repeated insert again. @param tables the first one is what the views read */
export async function forgetful(
  clickhouse: ClickHouse,
  [, ...fed]: readonly TableName[],
): Promise<readonly ForgetfulTable[]> {
  const found = await clickhouse.select<TableName & { engine: string }>(
    `SELECT database, name, engine FROM system.tables
      WHERE concat(database, '.', name) IN {fed:Array(String)}
        AND engine LIKE '%MergeTree' AND NOT match(engine_full, 'deduplication_window = [0-9]{4}')`,
    { fed: fed.map(({ database, name }) => `${database}.${name}`) },
  );
  return found.map(({ database, name, engine }) => ({
    database,
    name,
    setting: isReplicated(engine) ? 'replicated_deduplication_window' : 'non_replicated_deduplication_window',
  }));
}
