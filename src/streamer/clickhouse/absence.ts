import { OutboxError } from '../../errors.ts';
import type { ClickHouse } from './client.ts';

export interface TableName {
  readonly database: string;
  readonly name: string;
}

/** Why `system.tables` does not show a table: it does not exist, it is detached, or this account may not see it. */
export type Absence = 'missing' | 'detached' | 'unseen';

/** Asks about a table that `system.tables` does not show. Throws OUTBOX_CH_*. */
export async function absenceOf(
  clickhouse: ClickHouse,
  { database, name }: TableName,
  signal?: AbortSignal,
): Promise<Absence> {
  if (await isDetached(clickhouse, { database, name }, signal)) return 'detached';
  const exists = await tolerant(
    clickhouse.select<{ result: number }>(
      'EXISTS TABLE {database:Identifier}.{name:Identifier}',
      { database, name },
      signal,
    ),
  );
  return exists?.[0]?.result === 0 ? 'missing' : 'unseen';
}

/** The error of a table of the current database that is not there. */
export async function absentTable(clickhouse: ClickHouse, name: string, signal?: AbortSignal): Promise<OutboxError> {
  const [here] = await clickhouse.select<{ database: string }>('SELECT currentDatabase() AS database', {}, signal);
  const { database } = here!;
  return (await isDetached(clickhouse, { database, name }, signal))
    ? new OutboxError('OUTBOX_CH_TABLE_DETACHED', { detail: `the table "${name}" is detached in ClickHouse` })
    : new OutboxError('OUTBOX_CH_NOT_MIGRATED', { detail: `the table "${name}" does not exist in ClickHouse` });
}

async function isDetached(
  clickhouse: ClickHouse,
  { database, name: wanted }: TableName,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  return (await detachedIn(clickhouse, database, signal)).some(({ name }) => name === wanted);
}

/** The detached tables and views of a database, as far as this account may see them. ClickHouse does not say which of them is what. */
export async function detachedIn(clickhouse: ClickHouse, database: string, signal?: AbortSignal): Promise<TableName[]> {
  // some engines refuse the question about a whole server: this one is about one database
  const question = clickhouse.select<TableName>(
    'SELECT database, table AS name FROM system.detached_tables WHERE database = {database:String} ORDER BY name',
    { database },
    signal,
  );
  return (await tolerant(question)) ?? [];
}

/** Undefined where ClickHouse refuses the question: not every account may ask it, and not every version knows it. */
async function tolerant<T>(question: Promise<T>): Promise<T | undefined> {
  try {
    return await question;
  } catch (error) {
    if (error instanceof OutboxError && error.clickhouseCode !== undefined) return undefined;
    throw error;
  }
}
