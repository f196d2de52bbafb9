import type { TableName } from './absence.ts';
import type { ClickHouse } from './client.ts';
import { identityOf, isReplicated, type Identified } from './identity.ts';
import { expiryOf } from './ttl.ts';
import { IDENTIFIER, unquoted } from './views.ts';

/** A materialized view that reads the table by its name, but hangs on another one: it sees nothing of what is inserted. */
export interface LeftView {
  readonly database: string;
  readonly name: string;
  /** The table that it hangs on. */
  readonly on: string;
  readonly query: string;
}

/** The tables that a view reads, as ClickHouse writes its query. */
const READS = new RegExp(`\\b(?:FROM|JOIN) ${IDENTIFIER}\\.${IDENTIFIER}`, 'g');

/** Which table has the name now, and whether a TTL removes events from it; undefined when there is none that this account sees. */
export async function identityNow(
  clickhouse: ClickHouse,
  table: string,
  signal?: AbortSignal,
): Promise<{ identity: string; isReplicated: boolean; expires: boolean } | undefined> {
  const [found] = await clickhouse.select<Identified>(
    `SELECT database, name, toString(uuid) AS uuid, toString(serverUUID()) AS server, engine_full FROM system.tables
      WHERE database = currentDatabase() AND name = {table:String}`,
    { table },
    signal,
  );
  if (found === undefined) return undefined;
  return {
    identity: await identityOf(clickhouse, found, signal),
    isReplicated: isReplicated(found.engine_full),
    expires: expiryOf(found.engine_full) !== undefined,
  };
}

/** The table itself, and the views that an insert into it feeds at once. Nothing where this account does not see the table. */
export async function hangingOn(clickhouse: ClickHouse, table: string, signal?: AbortSignal): Promise<TableName[]> {
  return clickhouse.select<TableName>(
    `SELECT hanging.1 AS database, hanging.2 AS name
       FROM (SELECT arrayJoin(arrayPushFront(arrayZip(dependencies_database, dependencies_table), (database, name))) AS hanging
               FROM system.tables WHERE database = currentDatabase() AND name = {table:String})`,
    { table },
    signal,
  );
}

/**
 * The views that RENAME has left behind. It takes views along with the table, and leaves their queries as they are: from then on they
 * name the table that has come in its place, and hear of no insert, until ClickHouse is restarted.
 */
export async function leftViews(clickhouse: ClickHouse, table: string, signal?: AbortSignal): Promise<LeftView[]> {
  const hanging = await clickhouse.select<{
    home: string;
    database: string;
    name: string;
    on: [string, string][];
    query: string;
  }>(
    `SELECT currentDatabase() AS home, view.1 AS database, view.2 AS name, any(as_select) AS query,
            groupArray((on_database, on_name)) AS on
       FROM (SELECT database AS on_database, name AS on_name,
                    arrayJoin(arrayZip(dependencies_database, dependencies_table)) AS view FROM system.tables) AS hangs
       JOIN (SELECT (database, name) AS view, as_select FROM system.tables
              WHERE engine = 'MaterializedView' AND position(as_select, {table:String}) > 0) AS views USING (view)
      GROUP BY view ORDER BY view`,
    { table },
    signal,
  );
  return hanging.flatMap(({ home, database, name, on, query }) => {
    const read = [...query.matchAll(READS)].map(([, of = '', what = '']) => `${unquoted(of)}.${unquoted(what)}`);
    const tables = on.map(([of, what]) => `${of}.${what}`);
    // a view may well read the table beside the one that it hangs on
    if (!read.includes(`${home}.${table}`) || tables.some((hangsOn) => read.includes(hangsOn))) return [];
    return [{ database, name, on: tables.join(', '), query }];
  });
}
