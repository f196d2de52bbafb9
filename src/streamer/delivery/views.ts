import type { ClickHouse } from './clickhouse.ts';

/** Blocks of all who write to the table; with fewer, the token of a repeated insert might be forgotten too soon. */
export const MIN_WINDOW_BLOCKS = 1000;

/** A setting's value in a table's definition, or the server's default. */
export type SettingOf = (definition: string, name: string) => number;

export interface TableName {
  readonly database: string;
  readonly name: string;
}

/** The table, and the materialized views that an insert feeds. */
export interface Target {
  readonly views: number;
  /** Views whose target forgets tokens, or cannot be looked at; each with what is wrong. */
  readonly doubtful: readonly string[];
  /** All that an insert writes to and that remembers tokens. */
  readonly tables: readonly TableName[];
  /** How long tokens are remembered, whatever the number of blocks. */
  readonly remembersMs: number;
}

/** What follows a view's own name, where it fills another table: that table's database and name. */
const IDENTIFIER = '(`(?:[^`\\\\]|\\\\.)*`|\\w+)';
const TO = new RegExp(
  `^CREATE MATERIALIZED VIEW ${IDENTIFIER}\\.${IDENTIFIER} (?:UUID '[^']*' )?TO ${IDENTIFIER}\\.${IDENTIFIER}`,
);

/** All views that an insert feeds, also those on what other views fill. */
export async function viewsOn(
  clickhouse: ClickHouse,
  table: TableName & { readonly engine_full: string },
  setting: SettingOf,
  signal: AbortSignal | undefined,
): Promise<Target> {
  const doubtful: string[] = [];
  const tables: TableName[] = [];
  let seconds = forgetsAfter(table.engine_full, setting);
  const seen = new Set<string>();
  const fed: TableName[] = [{ database: table.database, name: table.name }];
  for (let next = fed.pop(); next !== undefined; next = fed.pop()) {
    tables.push(next);
    for (const view of await dependents(clickhouse, next, signal)) {
      const name = `${view.database}.${view.name}`;
      if (seen.has(name)) continue;
      seen.add(name);
      const own = await definitionOf(clickhouse, view, signal);
      const target = filledBy(own);
      const definition = target === undefined ? own : await definitionOf(clickhouse, target, signal);
      // what it stores itself is in a table without a name of ours: its blocks cannot be counted
      seconds = target === undefined ? 0 : Math.min(seconds, forgetsAfter(definition, setting));
      if (definition === '') doubtful.push(`${name} cannot be checked: GRANT SHOW TABLES on it and on its target`);
      else if (!remembers(definition, setting))
        doubtful.push(`${name} fills a table that does not remember ${MIN_WINDOW_BLOCKS} tokens`);
      if (target !== undefined) fed.push(target);
    }
  }
  return { views: seen.size, doubtful: doubtful.toSorted(), tables, remembersMs: seconds * 1000 };
}

async function dependents(
  clickhouse: ClickHouse,
  { database, name }: TableName,
  signal: AbortSignal | undefined,
): Promise<TableName[]> {
  return clickhouse.select<TableName>(
    `SELECT dependency.1 AS database, dependency.2 AS name
       FROM (SELECT dependencies_database, dependencies_table FROM system.tables
              WHERE database = {database:String} AND name = {name:String})
      ARRAY JOIN arrayZip(dependencies_database, dependencies_table) AS dependency`,
    { database, name },
    signal,
  );
}

/** Empty when it may not be seen. */
async function definitionOf(
  clickhouse: ClickHouse,
  { database, name }: TableName,
  signal: AbortSignal | undefined,
): Promise<string> {
  const [found] = await clickhouse.select<{ definition: string }>(
    'SELECT create_table_query AS definition FROM system.tables WHERE database = {database:String} AND name = {name:String}',
    { database, name },
    signal,
  );
  return found?.definition ?? '';
}

function filledBy(definition: string): TableName | undefined {
  const [, , , database, name] = TO.exec(definition) ?? [];
  return database === undefined || name === undefined
    ? undefined
    : { database: unquoted(database), name: unquoted(name) };
}

function unquoted(identifier: string): string {
  return identifier.startsWith('`') ? identifier.slice(1, -1).replaceAll(/\\(.)/g, '$1') : identifier;
}

/** Null keeps nothing that could be counted twice; what it feeds is looked at in its turn. */
function remembers(definition: string, setting: SettingOf): boolean {
  const engine = /\bENGINE = (\w+)/.exec(definition)?.[1] ?? '';
  if (engine === 'Null') return true;
  if (!engine.endsWith('MergeTree')) return false;
  const isReplicated = /^(Replicated|Shared)/.test(engine);
  return (
    setting(definition, isReplicated ? 'replicated_deduplication_window' : 'non_replicated_deduplication_window') >=
    MIN_WINDOW_BLOCKS
  );
}

/** Seconds after which an engine forgets tokens whatever their number. */
function forgetsAfter(definition: string, setting: SettingOf): number {
  return /\b(Replicated|Shared)\w*MergeTree/.test(definition)
    ? setting(definition, 'replicated_deduplication_window_seconds')
    : Infinity;
}
