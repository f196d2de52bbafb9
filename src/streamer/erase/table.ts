import { OutboxError } from '../../errors.ts';
import type { ClickHouse } from '../clickhouse/client.ts';
import { whereCurrent } from '../clickhouse/current.ts';
import { literal } from '../clickhouse/literal.ts';
import type { Condition } from '../clickhouse/retention-policy.ts';
import { SELECT_SETTINGS } from '../clickhouse/settings.ts';
import { TABLE_DELIVERED, TABLE_WITNESSED } from '../compare/digest.ts';
import { heldInTable, inTable, parametersOf, type Filter } from './filter.ts';
import type { Erasure, Tombstones } from './record.ts';

/** Rows that are erased together: their positions stand in the mutation, which Keeper takes up to 1 MB of. */
const CHUNK_ROWS = 4000;

/** Also rows that somebody's lightweight DELETE has masked: they are still in the parts. */
const WITH_MASKED = 'SETTINGS apply_deleted_mask = 0';

/** Tables beside the table of the events. */
export const tombstonesOf = (table: string): string => `${table}_erased`;
export const erasuresOf = (table: string): string => `${table}_erasures`;

/** A row of the events, by its place. */
export interface Place {
  readonly partition: string;
  readonly source: string;
  /** A decimal number. */
  readonly lsn: string;
  readonly seq: number;
  readonly id: string;
}

export interface EventTable {
  readonly clickhouse: ClickHouse;
  readonly table: string;
  /** Those of the outbox first: its shares' sources are called like it, with more behind it. */
  readonly sources: readonly string[];
  readonly filter: Filter;
}

/** How many rows a filter fits: of this outbox, and of others that share the table. Throws OUTBOX_CH_*. */
export async function countRows(at: EventTable): Promise<{ own: number; others: number }> {
  const own = isOf(at.sources);
  const [found] = await at.clickhouse.select<{ own: string; others: string }>(
    `SELECT toString(countIf(${own})) AS own, toString(countIf(NOT (${own}))) AS others FROM {table:Identifier}
      WHERE ${inTable(at.filter)} AND ${await whereCurrent(at.clickhouse, at.table)} ${WITH_MASKED}`,
    { table: at.table, ...parametersOf(at.filter) },
  );
  return { own: Number(found!.own), others: Number(found!.others) };
}

/** How many rows of this outbox all shards of a cluster have; undefined where there are none, or no table over them. Throws OUTBOX_CH_*. */
export async function countEverywhere({ clickhouse, table, sources, filter }: EventTable): Promise<number | undefined> {
  const name = `${table}_all`;
  const known = await clickhouse.select(
    "SELECT 1 FROM system.tables WHERE database = currentDatabase() AND name = {name:String} AND engine = 'Distributed'",
    { name },
  );
  if (known.length === 0) return undefined;
  const [found] = await clickhouse.select<{ n: string }>(
    `SELECT toString(count()) AS n FROM {name:Identifier} WHERE ${inTable(filter)} AND ${isOf(sources)} ${WITH_MASKED}`,
    { name, ...parametersOf(filter) },
  );
  return Number(found!.n);
}

/** How many of them a rule holds. Throws OUTBOX_CH_*. */
export async function countHeldRows(at: EventTable, holds: readonly (readonly Condition[])[]): Promise<number> {
  const [found] = await at.clickhouse.select<{ n: string }>(
    `SELECT toString(count()) AS n FROM {table:Identifier}
      WHERE ${inTable(at.filter)} AND ${isOf(at.sources)} AND ${heldInTable(holds)} ${WITH_MASKED}`,
    { table: at.table, ...parametersOf(at.filter) },
  );
  return Number(found!.n);
}

/** The rows that a filter fits behind another one, in the order of partitions: the mutations of one write its parts again. */
export async function nextRows(at: EventTable, after: Place | undefined): Promise<Place[]> {
  const place = '_partition_id, toString(source), e.lsn, e.seq, toString(event_id)';
  const behind =
    after === undefined
      ? 'true'
      : `(${place}) > (${literal(after.partition)}, ${literal(after.source)}, ${after.lsn}, ${after.seq}, ${literal(after.id)})`;
  return at.clickhouse.select<Place>(
    `SELECT _partition_id AS partition, toString(source) AS source, toString(lsn) AS lsn, seq, toString(event_id) AS id FROM {table:Identifier} AS e
      WHERE ${inTable(at.filter)} AND ${isOf(at.sources)} AND ${await whereCurrent(at.clickhouse, at.table)} AND ${behind}
      ORDER BY ${place} LIMIT ${CHUNK_ROWS} ${WITH_MASKED}`,
    { table: at.table, ...parametersOf(at.filter) },
  );
}

/** Makes the tables of tombstones and of erasures where they are missing. @param cluster empty: this server alone. Throws OUTBOX_CH_* */
export async function makeTables(clickhouse: ClickHouse, table: string, cluster: string): Promise<void> {
  const [target] = await clickhouse.select<{ engine: string }>(
    'SELECT engine FROM system.tables WHERE database = currentDatabase() AND name = {table:String}',
    { table },
  );
  if (cluster === '' && target?.engine.startsWith('Replicated') === true)
    throw new OutboxError('OUTBOX_CONFIG_INVALID', {
      problems: ['OUTBOX_CLICKHOUSE_CLUSTER is missing: each replica of the events must have the tombstones'],
    });
  const on = cluster === '' ? '' : ` ON CLUSTER ${literal(cluster)}`;
  const engine =
    cluster !== ''
      ? "ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}')"
      : 'ReplacingMergeTree';
  const durable = 'SETTINGS fsync_after_insert = 1, fsync_part_directory = 1';
  await clickhouse.command(
    `CREATE TABLE IF NOT EXISTS {name:Identifier}${on}
      (erasure String, source LowCardinality(String), hour DateTime('UTC'), witnessed FixedString(32), delivered FixedString(32))
      ENGINE = ${engine} ORDER BY (source, hour, witnessed, delivered, erasure) ${durable}`,
    { name: tombstonesOf(table) },
  );
  await clickhouse.command(
    `CREATE TABLE IF NOT EXISTS {name:Identifier}${on}
      (erasure String, source LowCardinality(String), reason String, begun_by String, begun_at DateTime64(6, 'UTC'), ended_at DateTime64(6, 'UTC'),
       filter String, events UInt64, tombstones String)
      ENGINE = ${engine} ORDER BY (source, erasure) ${durable}`,
    { name: erasuresOf(table) },
  );
  if (cluster === '') return;
  const all = `${table}_all`;
  for (const [over, one] of [
    [tombstonesOf(all), tombstonesOf(table)],
    [erasuresOf(all), erasuresOf(table)],
  ] as const)
    await clickhouse.command(
      `CREATE TABLE IF NOT EXISTS \`${over}\`${on} AS \`${one}\` ENGINE = Distributed(${literal(cluster)}, currentDatabase(), ${literal(one)})`,
    );
}

/**
 * Leaves a tombstone of each row, then removes the rows, and returns when no active part of any replica has them. Another call of the same
 * rows changes nothing more. Throws OUTBOX_CH_*.
 */
export async function eraseRows(at: EventTable, { id }: Erasure, rows: readonly Place[]): Promise<void> {
  const { clickhouse, table } = at;
  const groups = Map.groupBy(rows, ({ partition, source }) => JSON.stringify([partition, source]));
  for (const group of groups.values()) {
    const { partition, source } = group[0]!;
    const places = group.map((row) => `(${row.lsn}, ${row.seq}, ${literal(row.id)})`).join(', ');
    const condition = `toString(source) = ${literal(source)} AND (lsn, seq, event_id) IN (${places})`;
    await clickhouse.command(
      `INSERT INTO {tombstones:Identifier} (erasure, source, hour, witnessed, delivered)
       SELECT {id:String}, toString(source), toStartOfHour(toDateTime(recorded_at, 'UTC')), ${TABLE_WITNESSED} AS w, ${TABLE_DELIVERED} AS d
         FROM {table:Identifier} WHERE ${condition}
          AND (w, d) NOT IN (SELECT witnessed, delivered FROM {tombstones:Identifier} WHERE erasure = {id:String})
       ${WITH_MASKED}`,
      { tombstones: tombstonesOf(table), table, id },
      INSERT_SELECT,
    );
    // wherever it is looked for, and however many replicas must have it
    await whereCurrent(clickhouse, tombstonesOf(table));
    await mutate(clickhouse, table, `DELETE IN PARTITION ID ${literal(partition)} WHERE ${condition}`);
    if ((await countAt(at, condition)) === 0) continue;
    // masked rows alone do not make a DELETE write their part again
    await mutate(clickhouse, table, `APPLY DELETED MASK IN PARTITION ID ${literal(partition)}`);
    const rest = await countAt(at, condition);
    if (rest > 0)
      throw new OutboxError('OUTBOX_CH_FAILED', { detail: `${rest} rows are still there after their mutation` });
  }
}

async function countAt({ clickhouse, table }: EventTable, condition: string): Promise<number> {
  const [found] = await clickhouse.select<{ n: string }>(
    `SELECT toString(count()) AS n FROM {table:Identifier} WHERE ${condition} ${WITH_MASKED}`,
    { table },
  );
  return Number(found!.n);
}

/** Whatever a profile says, no row is left out, and text of this length is taken. */
const INSERT_SELECT = { ...SELECT_SETTINGS, async_insert: 0 as const };

/** On every replica; one that is away ends it with an error. What takes longer than a request is asked again, and has less left to do. */
async function mutate(clickhouse: ClickHouse, table: string, what: string): Promise<void> {
  const settings = { ...SELECT_SETTINGS, mutations_sync: '2' };
  for (;;) {
    try {
      await clickhouse.command(`ALTER TABLE {table:Identifier} ${what}`, { table }, settings);
      return;
    } catch (error) {
      if (!(error instanceof OutboxError) || error.code !== 'OUTBOX_CH_UNREACHABLE') throw error;
      await clickhouse.select('SELECT 1');
    }
  }
}

/** What an erasure has left. Throws OUTBOX_CH_*. */
export async function tombstones({ clickhouse, table }: EventTable, { id }: Erasure): Promise<Tombstones> {
  const name = tombstonesOf(table);
  const current = await whereCurrent(clickhouse, name);
  const [found] = await clickhouse.select<{ events: string; digest: string }>(
    `SELECT toString(count()) AS events, lower(hex(SHA256(arrayStringConcat(arraySort(groupArray(both)))))) AS digest
       FROM (SELECT DISTINCT concat(witnessed, delivered) AS both FROM {name:Identifier} WHERE erasure = {id:String} AND ${current})`,
    { name, id },
  );
  return { events: Number(found!.events), digest: found!.digest };
}

/** The erasure, beside its tombstones. Throws OUTBOX_CH_*. */
export async function copyErasure(at: EventTable, erasure: Erasure, { events, digest }: Tombstones): Promise<void> {
  await at.clickhouse.command(
    `INSERT INTO {name:Identifier} (erasure, source, reason, begun_by, begun_at, ended_at, filter, events, tombstones)
     SELECT {id:String}, {source:String}, {reason:String}, {begunBy:String}, toDateTime64({begunAt:String}, 6, 'UTC'), now64(6, 'UTC'), {filter:String},
            {events:UInt64}, {digest:String}`,
    {
      name: erasuresOf(at.table),
      id: erasure.id,
      source: at.sources[0]!,
      reason: erasure.reason,
      begunBy: erasure.begunBy,
      begunAt: erasure.begunAt,
      filter: erasure.filter,
      events,
      digest,
    },
    INSERT_SELECT,
  );
}

/** Rows of these sources, and of their shares as they are and were. */
function isOf(sources: readonly string[]): string {
  const names = sources.map((source) => source.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`));
  return `match(toString(source), ${literal(`^(${names.join('|')})(_[0-9]+_of_[0-9]+)?$`)})`;
}
