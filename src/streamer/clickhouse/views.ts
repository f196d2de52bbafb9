import { absenceOf, type TableName } from './absence.ts';
import type { ClickHouse } from './client.ts';
import { identityOf, isReplicated, type Identified } from './identity.ts';
import { expiresAtOnce } from './ttl.ts';

/** Blocks of all who write to the table; with fewer, the token of a repeated insert might be forgotten too soon. */
export const MIN_WINDOW_BLOCKS = 1000;

/** A setting's value in a table's definition, or the server's default. */
export type SettingOf = (definition: string, name: string) => number;

/** A view that fails every insert, because there is no table that it could fill. */
export interface BrokenView {
  readonly view: TableName;
  readonly target: TableName;
  readonly isDetached: boolean;
}

/** The table, and the materialized views that an insert feeds. */
export interface Target {
  /**
   * The server's version, and which tables have the names of the table and of what its views fill, see `identityOf`: another one may
   * not know the tokens of this one.
   */
  readonly identity: string;
  /** Its replicas share what they take, and each may lag behind. */
  readonly isReplicated: boolean;
  /** A TTL may remove a row as soon as it is there, because its event is old. */
  readonly expiresAtOnce: boolean;
  /** By database and name. */
  readonly views: readonly string[];
  readonly broken: readonly BrokenView[];
  /** Views whose target forgets tokens, or cannot be looked at; each with what is wrong. */
  readonly doubtful: readonly string[];
  /** All that an insert writes to and that remembers tokens. */
  readonly tables: readonly TableName[];
  /** How long tokens are remembered, whatever the number of blocks. */
  readonly remembersMs: number;
}

/** What follows a view's own name, where it fills another table: that table's database and name. */
export const IDENTIFIER = '(`(?:[^`\\\\]|\\\\.)*`|"(?:[^"\\\\]|\\\\.)*"|\\w+)';
const TO = new RegExp(
  `^CREATE MATERIALIZED VIEW ${IDENTIFIER}\\.${IDENTIFIER} (?:UUID '[^']*' )?TO ${IDENTIFIER}\\.${IDENTIFIER}`,
);

/** In databases whose engine is not Atomic. */
const NO_UUID = '00000000-0000-0000-0000-000000000000';

/**
 * All views that an insert feeds, also those on what other views fill. What is wrong with one is seen twice before it is said: between
 * two questions, a table may be exchanged, or be away for a moment.
 */
export async function viewsOn(
  clickhouse: ClickHouse,
  table: Identified,
  setting: SettingOf,
  signal: AbortSignal | undefined,
): Promise<Target> {
  const first = await inspectViews(clickhouse, table, setting, signal);
  if (first.broken.length + first.doubtful.length === 0) return first;
  const second = await inspectViews(clickhouse, table, setting, signal);
  const seen = new Set([...first.broken, ...first.doubtful].map((problem) => JSON.stringify(problem)));
  const isSeenTwice = (problem: BrokenView | string): boolean => seen.has(JSON.stringify(problem));
  return {
    ...second,
    broken: second.broken.filter(isSeenTwice),
    doubtful: second.doubtful.filter(isSeenTwice),
  };
}

async function inspectViews(
  clickhouse: ClickHouse,
  table: Identified,
  setting: SettingOf,
  signal: AbortSignal | undefined,
): Promise<Target> {
  const doubtful: string[] = [];
  const broken: BrokenView[] = [];
  const tables: TableName[] = [];
  let seconds = forgetsAfter(table.engine_full, setting);
  const seen = new Set<string>();
  const isShared = isReplicated(table.engine_full);
  const identities = new Set<string>();
  const fed: TableName[] = [{ database: table.database, name: table.name }];
  for (let next = fed.pop(); next !== undefined; next = fed.pop()) {
    tables.push(next);
    for (const view of await dependents(clickhouse, next, signal)) {
      const name = `${view.database}.${view.name}`;
      if (seen.has(name)) continue;
      seen.add(name);
      const target = await filledBy(clickhouse, view, signal);
      const found = target && (await identifiedBy(clickhouse, target, signal));
      const definition = found?.engine_full ?? '';
      // blocks of what cannot be seen cannot be counted
      seconds = definition === '' ? 0 : Math.min(seconds, forgetsAfter(definition, setting));
      const absence =
        target === undefined || definition !== '' ? undefined : await absenceOf(clickhouse, target, signal);
      if (target !== undefined && (absence === 'missing' || absence === 'detached')) {
        if (await isBlocking(clickhouse, signal)) broken.push({ view, target, isDetached: absence === 'detached' });
        else doubtful.push(`${name} fills a table that is ${absence}, and is passed over`);
        continue;
      }
      if (definition === '') doubtful.push(`${name} cannot be checked: GRANT SHOW TABLES on it and on its target`);
      else if (isShared && !isReplicated(definition) && !definition.startsWith('Null'))
        doubtful.push(
          `${name} fills a table that each replica has for itself, while a repeated insert may reach another replica`,
        );
      else if (!remembers(definition, setting))
        doubtful.push(`${name} fills a table that does not remember ${MIN_WINDOW_BLOCKS} tokens`);
      // replicas that have a table each would seem to be replaced in turn
      if (found !== undefined && (!isShared || isReplicated(definition)))
        identities.add(await identityOf(clickhouse, found, signal));
      if (target !== undefined) fed.push(target);
    }
  }
  const identity = [await identityOf(clickhouse, table, signal), ...[...identities].toSorted()].join(' ');
  return {
    identity,
    isReplicated: isShared,
    expiresAtOnce: expiresAtOnce(table.engine_full),
    views: [...seen].toSorted(),
    broken,
    doubtful: doubtful.toSorted(),
    tables,
    remembersMs: seconds * 1000,
  };
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

/** Whether a view without a table to fill fails the insert: an account may be set to pass it over. */
async function isBlocking(clickhouse: ClickHouse, signal: AbortSignal | undefined): Promise<boolean> {
  const [row] = await clickhouse.select<{ value: string }>(
    "SELECT value FROM system.settings WHERE name = 'ignore_materialized_views_with_dropped_target_table'",
    {},
    signal,
  );
  return row?.value !== '1';
}

async function identifiedBy(
  clickhouse: ClickHouse,
  { database, name }: TableName,
  signal: AbortSignal | undefined,
): Promise<Identified | undefined> {
  const [found] = await clickhouse.select<Identified>(
    `SELECT database, name, toString(uuid) AS uuid, toString(serverUUID()) AS server, engine_full FROM system.tables
      WHERE database = {database:String} AND name = {name:String}`,
    { database, name },
    signal,
  );
  return found;
}

/** The table that a view names, or the one that it stores into by itself; undefined when the view may not be seen. */
async function filledBy(
  clickhouse: ClickHouse,
  { database, name }: TableName,
  signal: AbortSignal | undefined,
): Promise<TableName | undefined> {
  const [view] = await clickhouse.select<{ definition: string; uuid: string }>(
    `SELECT create_table_query AS definition, toString(uuid) AS uuid FROM system.tables
      WHERE database = {database:String} AND name = {name:String}`,
    { database, name },
    signal,
  );
  if (view === undefined || view.definition === '') return undefined;
  const [, , , toDatabase, toName] = TO.exec(view.definition) ?? [];
  if (toDatabase !== undefined && toName !== undefined)
    return { database: unquoted(toDatabase), name: unquoted(toName) };
  return { database, name: view.uuid === NO_UUID ? `.inner.${name}` : `.inner_id.${view.uuid}` };
}

export function unquoted(identifier: string): string {
  return /^[`"]/.test(identifier) ? identifier.slice(1, -1).replaceAll(/\\(.)/g, '$1') : identifier;
}

/** Null keeps nothing that could be counted twice; what it feeds is looked at in its turn. */
function remembers(definition: string, setting: SettingOf): boolean {
  const engine = /^\w+/.exec(definition)?.[0] ?? '';
  if (engine === 'Null') return true;
  if (!engine.endsWith('MergeTree')) return false;
  return (
    setting(
      definition,
      isReplicated(engine) ? 'replicated_deduplication_window' : 'non_replicated_deduplication_window',
    ) >= MIN_WINDOW_BLOCKS
  );
}

/** Seconds after which an engine forgets tokens whatever their number. */
function forgetsAfter(definition: string, setting: SettingOf): number {
  return isReplicated(definition) ? setting(definition, 'replicated_deduplication_window_seconds') : Infinity;
}
