import { COMPACT, definitionOf, STORAGE } from '../events-table.ts';
import { bad, ok, query, type Finding } from './finding.ts';
import type { ClickHouseSubject } from './subjects.ts';

const ID = 'clickhouse.typed_context';
const MERGED = 'clickhouse.merged_context';
const WIDE = COMPACT.split(' ', 1)[0]!;
/** ClickHouse's default of max_bytes_to_merge_at_max_space_in_pool: 150 GiB. */
const LARGEST_MERGED_BYTES = 161_061_273_600;
/** Of the last day; of larger texts fewer, as many as are read in that time. */
const MAX_EVENTS = 100_000;
const MAX_SECONDS = 2;
/** There is a value other than null and {}, which have no path of their own: a text, an array, a truth value or a number. */
const UNTYPED = String.raw`empty(JSONAllPaths(event_context)) AND match(event_context_text, ':\\s*["\[tf0-9-]')`;
const LAST_DAY = 'event_date_time > now() - INTERVAL 1 DAY';

/** Whether contexts can be queried by path. */
export async function typedContext(subject: ClickHouseSubject): Promise<Finding[]> {
  const { clickhouse, config, altered } = subject;
  const columns = await clickhouse.select<{ name: string; type: string }>(
    'SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = {table:String}',
    { table: config.clickhouseTable },
  );
  if (columns.length === 0) return [];
  const column = columns.find((one) => one.name === 'event_context');
  if (column !== undefined) return column.type.startsWith('JSON') ? untyped(subject) : [ok(ID, `it is ${column.type}`)];
  const why = 'Events are delivered, but contexts cannot be queried by path, only as text.';
  const fix = query(`ALTER TABLE ${altered} ADD COLUMN ${await definitionOf('event_context')}`);
  return [bad('warning', ID, 'the column event_context is missing', why, fix)];
}

/** How many of the latest events have a text, and nothing typed of it. What ends in time is counted. */
async function untyped({ clickhouse, config, table: name }: ClickHouseSubject): Promise<Finding[]> {
  const [counted] = await clickhouse.select<{ untyped: string; events: string }>(
    `SELECT toString(countIf(is_untyped)) AS untyped, toString(count()) AS events
       FROM (SELECT ${UNTYPED} AS is_untyped FROM {table:Identifier} WHERE ${LAST_DAY} LIMIT ${MAX_EVENTS})
     SETTINGS max_execution_time = ${MAX_SECONDS}, timeout_overflow_mode = 'break', max_block_size = 1024`,
    { table: config.clickhouseTable },
  );
  const [count, events] = [Number(counted?.untyped ?? 0), Number(counted?.events ?? 0)];
  const found = `${count.toLocaleString('en-US')} of ${events.toLocaleString('en-US')} events of the last day are not typed`;
  if (count === 0) return [ok(ID, found)];
  const why = `Their event_context is {}, and queries by path do not see them. The table's DEFAULT does not type JSON that ClickHouse rejects (such as a key given twice, or half a surrogate pair), arrays nested more than 10 deep, more than 4096 keys, and long keys above many others. The exact text is in event_context_text. Find the producers: SELECT event_type, count(), any(event_context_text) FROM ${name} WHERE ${LAST_DAY} AND ${UNTYPED} GROUP BY event_type.`;
  return [bad('warning', ID, found, why)];
}

/** What merges of JSON take: of memory, and of files. */
export async function mergedContext(subject: ClickHouseSubject): Promise<Finding[]> {
  const { altered } = subject;
  const found: Finding[] = [];
  const stored = await settingOf(subject, STORAGE);
  if (stored === 'advanced') {
    const why =
      'A merge takes memory for each JSON path of its events: ten events of 2,000 keys of their own take more than 6 GB, and who fills keys by what users send lets them stop ClickHouse.';
    const fix = query(`ALTER TABLE ${altered} MODIFY SETTING ${STORAGE} = 'map_with_buckets'`);
    found.push(bad('warning', MERGED, `${STORAGE} is ${stored}`, why, fix));
  }
  const wide = await settingOf(subject, WIDE);
  if (wide !== undefined && Number(wide) < LARGEST_MERGED_BYTES) {
    const why =
      'Larger parts have files for each JSON path: a few kB of keys that users send need more than ClickHouse may open. Then merges fail, and in the end inserts.';
    const fix = query(`ALTER TABLE ${altered} MODIFY SETTING ${COMPACT}`);
    found.push(bad('warning', MERGED, `${WIDE} is ${wide}`, why, fix));
  }
  return found.length > 0 ? found : [ok(MERGED, 'merges take little memory and few files')];
}

/** The table's own, or the server's. Undefined where the server does not know it, or there is no table. */
async function settingOf({ clickhouse, config }: ClickHouseSubject, name: string): Promise<string | undefined> {
  const [row] = await clickhouse.select<{ value: string }>(
    `SELECT if(own = '', value, own) AS value
       FROM (SELECT extract(engine_full, concat({name:String}, ' = ''?(\\\\w+)')) AS own FROM system.tables
              WHERE database = currentDatabase() AND name = {table:String}) AS definition,
            (SELECT value FROM system.merge_tree_settings WHERE name = {name:String}) AS defaults`,
    { name, table: config.clickhouseTable },
  );
  return row?.value;
}
