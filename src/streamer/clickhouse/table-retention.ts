import type { ClickHouse } from './client.ts';
import { literal } from './literal.ts';
import { isOurs, ttlOf, type RetentionPolicy } from './retention-policy.ts';
import { ttlClauses, KEEPS, withoutTexts } from './ttl.ts';

/** A table's TTL beside the one that a policy wants. */
export interface TableRetention {
  /** As ClickHouse writes it; empty where there is none. */
  readonly present: string;
  /** With what moves and packs parts, which no policy is about. */
  readonly wanted: string;
  /** The clauses that remove rows and that no policy has made. */
  readonly foreign: readonly string[];
  /** Every host has what is wanted. */
  readonly isInPlace: boolean;
}

/**
 * Compares the TTL of a table of the current database with a policy; on a cluster, that of every host. Throws OUTBOX_CH_*.
 *
 * @param cluster empty: this server alone
 */
export async function tableRetention(
  clickhouse: ClickHouse,
  { table, cluster }: { readonly table: string; readonly cluster: string },
  policy: RetentionPolicy,
): Promise<TableRetention> {
  const [here] = await clickhouse.select<{ database: string }>('SELECT currentDatabase() AS database');
  const tables = cluster === '' ? 'system.tables' : `clusterAllReplicas(${literal(cluster)}, system.tables)`;
  const rows = await clickhouse.select<{ engine_full: string }>(
    `SELECT DISTINCT engine_full FROM ${tables} WHERE database = {database:String} AND name = {table:String}`,
    { database: here!.database, table },
  );
  const clauses = rows.map(({ engine_full: definition }) => ttlClauses(definition));
  const [first = []] = clauses;
  const all = [...new Set(clauses.flat())];
  const foreign = all.filter((clause) => !KEEPS.test(withoutTexts(clause)) && !isOurs(withoutTexts(clause)));
  const kept = all.filter((clause) => KEEPS.test(withoutTexts(clause)));
  const wanted = [...ttlOf(policy), ...kept].join(', ');
  const asWritten = wanted === '' ? '' : await written(clickhouse, wanted);
  const present = first.join(', ');
  return { present, wanted, foreign, isInPlace: clauses.every((each) => each.join(', ') === asWritten) };
}

/** A TTL in the words of this version of ClickHouse. */
async function written(clickhouse: ClickHouse, ttl: string): Promise<string> {
  const [row] = await clickhouse.select<{ text: string }>('SELECT formatQuerySingleLine({query:String}) AS text', {
    query: `CREATE TABLE t (a UInt8) ENGINE = MergeTree ORDER BY a TTL ${ttl}`,
  });
  return ttlClauses(row!.text).join(', ');
}
