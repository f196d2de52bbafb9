import { OutboxError } from '../../errors.ts';
import { INSERT_COLUMNS } from './columns.ts';
import { absentTable } from './absence.ts';
import type { ClickHouse } from './client.ts';
import { bare, eventTimeIn } from './event-time.ts';
import { literal } from './literal.ts';
import { emptiedColumns } from './ttl.ts';
import { MIN_WINDOW_BLOCKS, type SettingOf } from './views.ts';
import { refuseOld } from './version.ts';

const MIN_WINDOW_SECONDS = 3600;
const TABLE_SETTINGS = [
  'non_replicated_deduplication_window',
  'replicated_deduplication_window',
  'replicated_deduplication_window_seconds',
  'fsync_after_insert',
  'fsync_part_directory',
] as const;

/** A table that has these is somebody's events, and can become the target. */
const EVENT: readonly string[] = ['event_type', 'event_date_time', 'environment', 'event_context', 'metadata_version'];
const NOT_STORED: readonly string[] = ['EPHEMERAL', 'MATERIALIZED', 'ALIAS'];
/** By which an event is found again. */
const KEYS: readonly string[] = [
  'event_id',
  'source',
  'lsn',
  'seq',
  'event_type',
  'event_date_time',
  'committed_at',
  'delivered_at',
];
const MICROSECONDS: readonly string[] = ['committed_at', 'delivered_at', 'recorded_at'];
/**
 * Types that hold every value of a column: in others a number would wrap, or be rounded, and the text 007 be 7. A version comes as a
 * Decimal, and an Enum has names: such a type refuses what it does not hold.
 */
const HOLDS: Readonly<Record<string, { readonly all: string; readonly types: RegExp }>> = {
  metadata_version: { all: 'UInt64', types: /^(?:U?Int\d+|String)$/ },
  event_id: { all: 'UUID', types: /^UUID$/ },
  lsn: { all: 'UInt64', types: /^(?:UInt64|U?Int(?:128|256))$/ },
  seq: { all: 'UInt32', types: /^(?:UInt32|U?Int(?:64|128|256))$/ },
  ...Object.fromEntries(
    ['event_type', 'environment', 'subject', 'source', 'trace_id', 'span_id', 'recorded_by', 'origin'].map((name) => [
      name,
      { all: 'String', types: /^(?:String$|Enum(?:8|16)?\()/ },
    ]),
  ),
  event_context_text: { all: 'String', types: /^String$/ },
};

type TableSetting = (typeof TABLE_SETTINGS)[number];

export interface ColumnRow {
  readonly name: string;
  readonly type: string;
  readonly default_kind: string;
  readonly default_expression: string;
}

export interface TableRow {
  database: string;
  name: string;
  uuid: string;
  server: string;
  engine: string;
  engine_full: string;
  /** As it is made. */
  definition: string;
  /** The server's. */
  version: string;
}

/** Why a table cannot hold every event exactly once. */
export interface TableProblem {
  readonly found: string;
  /** What is wrong could be put right by it, behind ALTER TABLE and the name. No word in it is another's. */
  readonly alter?: string;
  /** It changes nothing of what is there: no type, and no value. */
  readonly adds?: boolean;
  /** The column that is not there: how it is made is not known here. */
  readonly missing?: string;
}

export interface InspectedTable {
  readonly table: TableRow;
  readonly columns: readonly ColumnRow[];
  readonly setting: SettingOf;
  /** Columns that a TTL of their own empties. */
  readonly emptied: readonly string[];
  readonly problems: readonly TableProblem[];
}

/**
 * Looks at a table of the current database. Throws OUTBOX_CH_NOT_MIGRATED, OUTBOX_CH_TABLE_DETACHED, OUTBOX_CH_TABLE_FOREIGN,
 * OUTBOX_CH_VERSION, or what the question itself ran into.
 *
 * @param renamed columns of ours that it has under other names
 */
export async function inspectTable(
  clickhouse: ClickHouse,
  name: string,
  signal?: AbortSignal,
  renamed: Iterable<string> = [],
): Promise<InspectedTable> {
  const [table] = await clickhouse.select<TableRow>(
    `SELECT database, name, toString(uuid) AS uuid, toString(serverUUID()) AS server, engine, engine_full,
            create_table_query AS definition, version() AS version FROM system.tables
      WHERE database = currentDatabase() AND name = {name:String}`,
    { name },
    signal,
  );
  if (table === undefined) throw await absentTable(clickhouse, name, signal);
  refuseOld(table.version);
  const columns = await clickhouse.select<ColumnRow>(
    'SELECT name, type, default_kind, default_expression FROM system.columns WHERE database = currentDatabase() AND table = {name:String}',
    { name },
    signal,
  );
  refuseForeign(name, new Set([...renamed, ...columns.map((column) => column.name)]));
  const defaults = await clickhouse.select<{ name: string; value: string }>(
    `SELECT name, value FROM system.merge_tree_settings WHERE name IN (${TABLE_SETTINGS.map(literal).join(', ')})`,
    {},
    signal,
  );
  const setting: SettingOf = (definition, of) => {
    const clause = definition.slice(definition.lastIndexOf(' SETTINGS '));
    const own = new RegExp(`\\b${of} = '?(\\d+|true|false)`).exec(clause)?.[1];
    const value = own ?? defaults.find((row) => row.name === of)?.value ?? '0';
    return value === 'true' ? 1 : Number(value);
  };
  const emptied = emptiedColumns(table.definition);
  const problems = [...engineProblems(table, setting), ...columnProblems(columns), ...ttlProblems(emptied)];
  return { table, columns, setting, emptied, problems };
}

/** What would make the target of somebody else's table would destroy it. */
function refuseForeign(table: string, names: ReadonlySet<string>): void {
  const has = INSERT_COLUMNS.filter((column) => names.has(column)).length;
  if (has > INSERT_COLUMNS.length / 2 || EVENT.every((column) => names.has(column))) return;
  throw new OutboxError('OUTBOX_CH_TABLE_FOREIGN', {
    detail: `the table "${table}" has ${has} of the ${INSERT_COLUMNS.length} columns that are sent`,
  });
}

/** What would be delivered otherwise than it is, or not be found again. Strings and numbers are converted as they fit. */
function columnProblems(columns: readonly ColumnRow[]): TableProblem[] {
  const problems: TableProblem[] = [];
  for (const name of INSERT_COLUMNS) {
    const { type, default_kind: kind = '' } = columns.find((column) => column.name === name) ?? {};
    const holds = HOLDS[name];
    if (type === undefined) problems.push({ found: `the column ${name} is missing`, missing: name });
    else if (NOT_STORED.includes(kind))
      problems.push({
        found: `the column ${name} is ${kind}, so that what is sent is not stored`,
        ...(kind !== 'EPHEMERAL'
          ? { alter: `MODIFY COLUMN ${name} REMOVE ${kind}` }
          : bare(type) === 'String'
            ? { alter: `MODIFY COLUMN ${name} DEFAULT ''` }
            : {}),
      });
    else if (/FixedString/.test(type))
      problems.push({
        found: `the column ${name} is ${type}, which fills texts up`,
        alter: `MODIFY COLUMN ${name} String`,
      });
    else if (MICROSECONDS.includes(name) && !/^DateTime64\(6\b/.test(type))
      problems.push({
        found: `the column ${name} is ${type}, which is not DateTime64(6)`,
        alter: `MODIFY COLUMN ${name} DateTime64(6, 'UTC')`,
      });
    else if (name === 'event_date_time' && eventTimeIn(bare(type)) === undefined)
      problems.push({
        found: `the column ${name} is ${type}, which is not a DateTime or DateTime64`,
        alter: `MODIFY COLUMN ${name} DateTime64(6, 'UTC')`,
      });
    else if (holds !== undefined && !holds.types.test(bare(type)))
      problems.push({
        found: `the column ${name} is ${type}, which does not hold every ${holds.all}`,
        alter: `MODIFY COLUMN ${name} ${holds.all}`,
      });
  }
  const context = columns.find(({ name }) => name === 'event_context');
  if (context !== undefined && !/^(?:JSON\b|String$)/.test(bare(context.type)))
    problems.push({ found: `the column event_context is ${context.type}, which is neither JSON nor String` });
  else if (context !== undefined && takesNoText(context)) {
    const value = /String/.test(context.type)
      ? 'event_context_text'
      : `JSONExtract(event_context_text, ${literal(context.type)})`;
    problems.push({
      found:
        'the column event_context is not made from event_context_text by its DEFAULT: every context would be empty',
      adds: true,
      alter: `MODIFY COLUMN event_context DEFAULT ${value}`,
    });
  }
  return problems;
}

function takesNoText({ default_kind: kind, default_expression: value }: ColumnRow): boolean {
  return kind === '' || (kind === 'DEFAULT' && !/\bevent_context_text\b/.test(value));
}

/** What a look-up goes by must stay. */
function ttlProblems(emptied: readonly string[]): TableProblem[] {
  return emptied
    .filter((name) => KEYS.includes(name))
    .map((name) => ({
      found: `the column ${name} has a TTL, which empties it: events could not be found again`,
      alter: `MODIFY COLUMN ${name} REMOVE TTL`,
    }));
}

function engineProblems({ engine, engine_full: definition }: TableRow, setting: SettingOf): TableProblem[] {
  if (!/^(Replicated|Shared)?MergeTree$/.test(engine)) {
    return [
      {
        found: `its engine is ${engine}, which is not a (Replicated)MergeTree: it may drop rows, or does not remember tokens`,
      },
    ];
  }
  const wanted: [TableSetting, number][] =
    engine === 'MergeTree'
      ? [['non_replicated_deduplication_window', MIN_WINDOW_BLOCKS]]
      : [
          ['replicated_deduplication_window', MIN_WINDOW_BLOCKS],
          ['replicated_deduplication_window_seconds', MIN_WINDOW_SECONDS],
        ];
  if (!engine.startsWith('Shared')) wanted.push(['fsync_after_insert', 1], ['fsync_part_directory', 1]);
  return wanted
    .filter(([name, least]) => setting(definition, name) < least)
    .map(([name, least]) => ({
      found: `${name} is ${setting(definition, name)}`,
      adds: true,
      alter: `MODIFY SETTING ${name} = ${least === 1 ? 1 : least * 10}`,
    }));
}
