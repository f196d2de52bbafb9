import type { ClickHouse } from '../clickhouse/client.ts';
import { bare, eventTimeIn, MICROSECONDS } from '../clickhouse/event-time.ts';
import { forgetful } from '../clickhouse/forgetful.ts';
import { literal } from '../clickhouse/literal.ts';
import { inspectTable, type ColumnRow, type InspectedTable } from '../clickhouse/table.ts';
import { unsuitable } from '../clickhouse/target.ts';
import { viewsOn } from '../clickhouse/views.ts';
import { quoted } from './doctor/subjects.ts';
import { definitionOf, indexes, knowsStorage, PURPOSES, STORAGE, typedContext } from './events-table.ts';

interface Change {
  /** Behind ALTER TABLE and the table's name. */
  readonly alter: string;
  readonly why: string;
}

/** A change of a table's definition, and what it is for. No value of a row is touched. */
export interface Step extends Change {
  /** Quoted. */
  readonly table: string;
}

export interface Adoption {
  readonly steps: readonly Step[];
  /** What the table does otherwise than one that `migrate` makes, and what it costs. */
  readonly costs: readonly string[];
}

/** The columns of a table that have other names than ours, by ours. */
export type OwnNames = ReadonlyMap<string, string>;

/** Columns that a table may have under other names. */
export const RENAMABLE = ['event_type', 'event_date_time', 'environment', 'event_context', 'metadata_version'] as const;

/**
 * What makes a table that somebody else has made one that holds every event exactly once, without a change of what is there: columns,
 * indexes and settings are added, and columns of other names get defaults. Throws OUTBOX_CH_TABLE_UNSUITABLE where only other
 * types, another engine or a TTL less would do, and OUTBOX_CH_*.
 */
export async function planAdoption(clickhouse: ClickHouse, table: string, names: OwnNames): Promise<Adoption> {
  const found = await inspectTable(clickhouse, table, undefined, names.keys());
  const { problems, columns } = found;
  const lasting = [
    ...problems.filter(({ missing, adds }) => missing === undefined && adds !== true),
    ...misnamed(columns, names),
  ];
  if (lasting.length > 0) throw unsuitable(table, lasting);
  const steps = [
    ...(await added(clickhouse, found, names)),
    ...(await defaults(columns, names)),
    ...(await settings(clickhouse, found)),
  ].map((change) => ({ table: quoted(table), ...change }));
  const { tables } = await viewsOn(clickhouse, found.table, found.setting, undefined);
  const views = (await forgetful(clickhouse, tables)).map(({ database, name, setting }) => ({
    table: `${quoted(database)}.${quoted(name)}`,
    alter: `MODIFY SETTING ${setting} = 10000`,
    why: 'a view fills it: a repeated insert counts once there, too',
  }));
  return { steps: [...steps, ...views], costs: costsOf(columns, names) };
}

/** Pairs that name what is not there, or what nothing can be stored in. */
function misnamed(columns: readonly ColumnRow[], names: OwnNames): { found: string }[] {
  return [...names].flatMap(([ours, theirs]) => {
    const column = columns.find(({ name }) => name === theirs);
    if (column === undefined) return [{ found: `there is no column ${theirs}, to hold ${ours}` }];
    const stores = column.default_kind === '' || column.default_kind === 'DEFAULT';
    return stores ? [] : [{ found: `the column ${theirs} is ${column.default_kind}: it cannot hold ${ours}` }];
  });
}

async function added(
  clickhouse: ClickHouse,
  { table, columns, problems }: InspectedTable,
  names: OwnNames,
): Promise<Change[]> {
  const changes: Change[] = [];
  for (const { missing } of problems)
    if (missing !== undefined)
      changes.push({ alter: `ADD COLUMN IF NOT EXISTS ${await definitionOf(missing)}`, why: PURPOSES[missing] ?? '' });
  if (!columns.some(({ name }) => name === 'event_context')) {
    const theirs = columns.find(({ name }) => name === names.get('event_context'));
    const definition =
      theirs === undefined
        ? await definitionOf('event_context')
        : `event_context ${theirs.type} ALIAS ${quoted(theirs.name)}`;
    changes.push({ alter: `ADD COLUMN IF NOT EXISTS ${definition}`, why: 'the context, for queries by path' });
  }
  const there = await clickhouse.select<{ name: string }>(
    'SELECT name FROM system.data_skipping_indices WHERE database = {database:String} AND table = {name:String}',
    { database: table.database, name: table.name },
  );
  for (const [name, definition] of await indexes())
    if (!there.some((index) => index.name === name))
      changes.push({
        alter: `ADD ${definition.replace('INDEX ', 'INDEX IF NOT EXISTS ')}`,
        why: `finding by ${name.slice('by_'.length)}, in new parts`,
      });
  return changes;
}

/** The streamer sends the context as text, and columns under our names: the table's own are made of them. */
async function defaults(columns: readonly ColumnRow[], names: OwnNames): Promise<Change[]> {
  const changes: Change[] = [];
  const own = new Map([['event_context', 'event_context'], ...names]);
  for (const [ours, theirs] of own) {
    const column = columns.find(({ name }) => name === theirs);
    const sent = ours === 'event_context' ? 'event_context_text' : ours;
    if (
      column === undefined ||
      !['', 'DEFAULT'].includes(column.default_kind) ||
      mentions(column.default_expression, sent)
    )
      continue;
    const value =
      ours === 'event_context'
        ? await typedContext(column.type)
        : ours === 'metadata_version' && isNarrow(column.type)
          ? `accurateCast(metadata_version, ${literal(column.type)})`
          : ours;
    // what a direct insert leaves out is what it was
    const whole = column.default_kind === '' ? value : `if(source = '', ${column.default_expression}, ${value})`;
    changes.push({
      alter: `MODIFY COLUMN ${quoted(theirs)} DEFAULT ${whole}`,
      why: `it holds ${sent === ours ? ours : 'the context'} of what is delivered, as well`,
    });
  }
  return changes;
}

async function settings(clickhouse: ClickHouse, { table, problems }: InspectedTable): Promise<Change[]> {
  const wanted = problems.flatMap(({ adds, alter = '' }) =>
    adds === true && alter.startsWith('MODIFY SETTING ') ? [alter.slice('MODIFY SETTING '.length)] : [],
  );
  const changes: Change[] = [];
  const why = 'a repeated insert counts once, and what was taken outlasts a power cut';
  if (wanted.length > 0) changes.push({ alter: `MODIFY SETTING ${wanted.join(', ')}`, why });
  const compact = ['min_bytes_for_wide_part = 134217728'];
  if (await knowsStorage(clickhouse)) compact.push(`${STORAGE} = 'map_with_buckets'`);
  const unset = compact.filter((setting) => !table.engine_full.includes(setting.split(' ', 1)[0]!));
  if (unset.length > 0)
    changes.push({
      alter: `MODIFY SETTING ${unset.join(', ')}`,
      why: 'JSON is few files, each of which is flushed by itself, and its merges take little memory',
    });
  return changes;
}

function costsOf(columns: readonly ColumnRow[], names: OwnNames): string[] {
  const typeOf = (ours: string): string =>
    bare(columns.find(({ name }) => name === (names.get(ours) ?? ours))?.type ?? '');
  const costs = [
    "Inserts of others: from now on ClickHouse drops an insert whose rows are all the same as those of one before. Let them send `deduplicate_insert = 'disable'` (older servers: `insert_deduplicate = 0`).",
  ];
  const date = typeOf('event_date_time');
  const { step, first } = eventTimeIn(date) ?? MICROSECONDS;
  if (step > 1n)
    costs.push(
      `Dates: ${date} keeps ${step === 1_000_000n ? 'whole seconds' : `steps of ${step} microseconds`}${first === 0n ? ', and moves a date before 1970 or behind 2106-02-07 to that end' : ''}. verify compares what it keeps.`,
    );
  if (date.startsWith('DateTime64(9'))
    costs.push(`Dates: an event dated behind 2262-04-11, which ${date} does not hold, goes to quarantine.`);
  const version = typeOf('metadata_version');
  if (isNarrow(version))
    costs.push(`Versions: an event whose metadata_version ${version} does not hold goes to quarantine.`);
  for (const ours of ['event_type', 'environment'])
    if (typeOf(ours).startsWith('Enum'))
      costs.push(`Names: an event whose ${ours} is not in the ${typeOf(ours).split('(', 1)[0]} goes to quarantine.`);
  if (/String\b/.test(typeOf('event_context')))
    costs.push('Contexts: event_context is text, so queries by path need JSONExtract, which reads all of it.');
  return costs;
}

function isNarrow(type: string): boolean {
  return /^U?Int(?:8|16|32)$/.test(bare(type));
}

function mentions(expression: string, column: string): boolean {
  return new RegExp(`\\b${column}\\b`).test(expression);
}

/** The statements that a plan comes to, each of which leaves a whole table behind. */
export function statementsOf({ steps }: Adoption, cluster: string): string[] {
  const groups: Step[][] = [];
  for (const step of steps) {
    const last = groups.at(-1);
    // a table is altered once for all that is added
    if (
      last !== undefined &&
      last[0]!.table === step.table &&
      [...last, step].every(({ alter }) => alter.startsWith('ADD '))
    )
      last.push(step);
    else groups.push([step]);
  }
  const on = cluster === '' ? '' : ` ON CLUSTER ${quoted(cluster)}`;
  return groups.map((group) => `ALTER TABLE ${group[0]!.table}${on} ${group.map(({ alter }) => alter).join(', ')}`);
}

/** `theirs=ours,…`. Returns what is wrong with it instead, where something is. */
export function parseNames(text: string): OwnNames | string {
  const names = new Map<string, string>();
  for (const pair of text === '' ? [] : text.split(',')) {
    const [theirs = '', ours = '', ...more] = pair.split('=').map((name) => name.trim());
    if (theirs === '' || more.length > 0 || !(RENAMABLE as readonly string[]).includes(ours))
      return `--columns takes pairs such as kind=event_type, of ${RENAMABLE.join(', ')}, with commas between`;
    if (names.has(ours)) return `--columns names two columns for ${ours}`;
    if (theirs !== ours) names.set(ours, theirs);
  }
  return names;
}

/** What is shown before it is done: each statement with its reasons, then the costs. */
export function printAdoption(table: string, { steps, costs }: Adoption): string[] {
  return [
    `ClickHouse: to fill the table "${table}", this is added to it (no row, type or order of what is there changes):`,
    ...steps.map(
      (step) => `  ${step.table === quoted(table) ? '' : `${step.table} `}${short(step.alter)}  -- ${step.why}`,
    ),
    'To know before:',
    ...costs.map((cost) => `  ${cost}`),
  ];
}

/** The DEFAULT that types a context is a page long. */
function short(alter: string): string {
  return alter.replace('IF NOT EXISTS ', '').replace(/( DEFAULT \w+\().{80,}(\).*?)$/s, '$1…$2');
}
