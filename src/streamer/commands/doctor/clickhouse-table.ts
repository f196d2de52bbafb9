import { OutboxError, summaryOf, type ErrorCode } from '../../../errors.ts';
import { INSERT_COLUMNS } from '../../clickhouse/columns.ts';
import { sendNothing } from '../../delivery/send.ts';
import { INSERT_MARGIN_MS, PROOF_MAX_AGE_MS } from '../../delivery/retry.ts';
import type { TableName } from '../../clickhouse/absence.ts';
import { readPolicy } from '../../clickhouse/retention-policy.ts';
import { tableRetention } from '../../clickhouse/table-retention.ts';
import { inspectTable } from '../../clickhouse/table.ts';
import { forgetful } from '../../clickhouse/forgetful.ts';
import { leftViews } from '../../clickhouse/left-views.ts';
import { describeBroken, inspectTarget } from '../../clickhouse/target.ts';
import { expiryOf } from '../../clickhouse/ttl.ts';
import type { Target } from '../../clickhouse/views.ts';
import { definitionOf, PURPOSES } from '../events-table.ts';
import { mergedContext, typedContext } from './clickhouse-typing.ts';
import { quoted, type ClickHouseCheck, type ClickHouseSubject } from './subjects.ts';
import { bad, command, findingOf, ok, query, type Finding, type Fix } from './finding.ts';

const DAY_S = 86_400;

/** READONLY, SETTING_CONSTRAINT_VIOLATION */
const SETTING_REFUSED: ReadonlySet<number | undefined> = new Set([164, 452]);
const NO_SETTINGS =
  'Nothing is delivered: the account must be allowed to write, and to send the settings that make a repeated insert count once. Give it a profile with readonly = 0 and without constraints on them; where it has one on max_execution_time, set OUTBOX_INSERT_TIMEOUT_MS to no more than that.';

/** What keeps an insert out, and has findings of its own. */
const FOUND_ELSEWHERE: ReadonlySet<ErrorCode> = new Set([
  'OUTBOX_CH_NOT_MIGRATED',
  'OUTBOX_CH_REFUSED',
  'OUTBOX_CH_VIEW_FAILED',
]);

/** What the table must be like, and what hangs on it. */
export const TABLE_CHECKS: readonly ClickHouseCheck[] = [
  { id: 'clickhouse.table', examine: table },
  { id: 'clickhouse.privileges', examine: privileges },
  { id: 'clickhouse.left_views', examine: left },
  { id: 'clickhouse.typed_context', examine: typedContext },
  { id: 'clickhouse.merged_context', examine: mergedContext },
  { id: 'clickhouse.ttl', examine: ttl },
  { id: 'clickhouse.parts', examine: parts },
];

async function table(subject: ClickHouseSubject): Promise<Finding[]> {
  const { clickhouse, config } = subject;
  let target: Target;
  try {
    target = await inspectTarget(clickhouse, config.clickhouseTable);
  } catch (error) {
    if (!(error instanceof OutboxError)) throw error;
    if (error.code === 'OUTBOX_CH_TABLE_UNSUITABLE') return unsuitable(subject);
    if (error.code === 'OUTBOX_CH_TABLE_DETACHED')
      return [findingOf('clickhouse.table', error, query(`ATTACH TABLE ${subject.table}`))];
    // what the streamer asks as well, and cannot do without
    if (error.code !== 'OUTBOX_CH_NOT_MIGRATED') return [findingOf('clickhouse.table', error)];
    const database = subject.table.slice(0, subject.table.indexOf('.`'));
    const fixes = error.clickhouseCode === 81 ? [query(`CREATE DATABASE IF NOT EXISTS ${database}`)] : [];
    return [findingOf('clickhouse.table', error, ...fixes, command('migrate'))];
  }
  return [
    ok('clickhouse.table', `${config.clickhouseTable}: columns, window and fsync are as they should be`),
    ...(await views(subject, target)),
    deadline(subject, target),
  ];
}

async function unsuitable({ clickhouse, config, altered: name }: ClickHouseSubject): Promise<Finding[]> {
  const id = 'clickhouse.table';
  const { problems } = await inspectTable(clickhouse, config.clickhouseTable);
  return Promise.all(
    problems.map(async ({ found, alter, missing }) => {
      if (missing !== undefined) {
        const why = `Nothing is delivered until it is there. It holds ${PURPOSES[missing] ?? 'what the streamer sends'}.`;
        return bad('error', id, found, why, query(`ALTER TABLE ${name} ADD COLUMN ${await definitionOf(missing)}`));
      }
      if (alter !== undefined) {
        const why = found.startsWith('fsync')
          ? 'A power cut could lose rows that Postgres was told to forget.'
          : found.startsWith('the column')
            ? 'Events would not be there as they were emitted.'
            : 'A repeated insert would be counted twice.';
        return bad('error', id, found, why, query(`ALTER TABLE ${name} ${alter}`));
      }
      const why =
        'Rows may be lost or doubled: let `migrate` make another table, under another OUTBOX_CLICKHOUSE_TABLE.';
      return bad('error', id, found, why, command('migrate'));
    }),
  );
}

/** Asks for no row and inserts none, which ClickHouse refuses to whom it would refuse more. */
async function privileges({ clickhouse, config, table: name, user }: ClickHouseSubject): Promise<Finding[]> {
  const id = 'clickhouse.privileges';
  const asked = {
    SELECT: async () => clickhouse.command(`SELECT ${INSERT_COLUMNS.join(', ')} FROM ${name} WHERE 0`),
    INSERT: async () => sendNothing(clickhouse, config.clickhouseTable, undefined, config.insertTimeoutMs),
  };
  for (const [privilege, ask] of Object.entries(asked)) {
    try {
      await ask();
    } catch (error) {
      if (!(error instanceof OutboxError)) throw error;
      if (SETTING_REFUSED.has(error.clickhouseCode)) return [bad('error', id, summaryOf(error), NO_SETTINGS)];
      if (FOUND_ELSEWHERE.has(error.code)) return [];
      if (error.code !== 'OUTBOX_CH_AUTH') throw error;
      const fix = query(`GRANT ${privilege} ON ${name} TO ${user}`);
      return [bad('error', id, `no ${privilege} on the table`, 'Nothing is delivered without it.', fix)];
    }
  }
  return [ok(id, 'INSERT and SELECT are granted')];
}

/** Views without a table to fill fail every insert; views whose target forgets tokens count a repeated insert again. */
async function views(subject: ClickHouseSubject, target: Target): Promise<Finding[]> {
  const id = 'clickhouse.views';
  const { clickhouse } = subject;
  if (target.broken.length > 0) {
    const why =
      'Nothing is delivered until you create that table again (ATTACH TABLE where it is detached), or drop the view.';
    return target.broken.map((broken) => {
      const fix = broken.isDetached ? `ATTACH TABLE ${full(broken.target)}` : `DROP VIEW ${full(broken.view)}`;
      return bad('error', id, describeBroken(broken), why, query(fix));
    });
  }
  const failing = await failingView(subject);
  if (failing !== undefined) return [findingOf(id, failing)];
  if (target.doubtful.length === 0) return [ok(id, `${target.views.length} materialized views, each counts once`)];
  const fixes = (await forgetful(clickhouse, target.tables)).map((one): Fix =>
    query(`ALTER TABLE ${full(one)} MODIFY SETTING ${one.setting} = 10000`),
  );
  const why =
    'An insert that has to be repeated counts twice there; the table itself is not affected. Let a view fill a table of yours (TO).';
  return [bad('warning', id, target.doubtful.join('; '), why, ...fixes)];
}

/** Views that name the table, and that RENAME has left on another one. */
async function left({ clickhouse, config }: ClickHouseSubject): Promise<Finding[]> {
  const id = 'clickhouse.left_views';
  const found = await leftViews(clickhouse, config.clickhouseTable);
  if (found.length === 0) return [ok(id, 'every view that reads the table hangs on it')];
  const what = found.map(({ database, name, on }) => `${database}.${name} hangs on ${on}`).join('; ');
  const why = `It reads ${config.clickhouseTable} by name and sees no new events: RENAME has left it on the former table. Fill what it has missed by hand.`;
  const fixes = found.map(({ database, name, query: text }) =>
    query(`ALTER TABLE ${quoted(database)}.${quoted(name)} MODIFY QUERY ${text}`),
  );
  return [bad('warning', id, what, why, ...fixes)];
}

/** Of a view that this account may not look at, ClickHouse says at an insert that there is no table that it could fill. */
async function failingView({ clickhouse, config }: ClickHouseSubject): Promise<OutboxError | undefined> {
  try {
    await sendNothing(clickhouse, config.clickhouseTable, undefined, config.insertTimeoutMs);
    return undefined;
  } catch (error) {
    if (!(error instanceof OutboxError)) throw error;
    // whatever else keeps an insert out is told as a privilege
    return error.code === 'OUTBOX_CH_VIEW_FAILED' ? error : undefined;
  }
}

function full({ database, name }: TableName): string {
  return `${quoted(database)}.${quoted(name)}`;
}

/** An attempt may be sent so long after a proof, and live so long: the token must be remembered for longer. */
function deadline({ config, altered: name }: ClickHouseSubject, { remembersMs }: Target): Finding {
  const id = 'clickhouse.deadline';
  const needed = PROOF_MAX_AGE_MS + config.insertTimeoutMs + INSERT_MARGIN_MS;
  // what a view stores itself is not counted by time
  if (remembersMs === Infinity || remembersMs === 0) return ok(id, 'tokens are not forgotten by time');
  const found = `tokens are remembered for ${remembersMs / 1000} s, an insert may live ${needed / 1000} s`;
  if (remembersMs > needed) return ok(id, found);
  const why = 'An insert could be repeated after its token was forgotten, and count twice.';
  const setting = 'replicated_deduplication_window_seconds';
  return bad('error', id, found, why, query(`ALTER TABLE ${name} MODIFY SETTING ${setting} = 604800`));
}

/** Retention removes an event a day late at most. Until then Postgres has it, and `repair` would send it again and again. */
async function ttl(subject: ClickHouseSubject): Promise<Finding[]> {
  const id = 'clickhouse.ttl';
  const { clickhouse, config, altered: name } = subject;
  const [row] = await clickhouse.select<{ engine_full: string }>(
    'SELECT engine_full FROM system.tables WHERE database = currentDatabase() AND name = {table:String}',
    { table: config.clickhouseTable },
  );
  if (row === undefined) return [];
  const { emptied } = await inspectTable(clickhouse, config.clickhouseTable);
  const sent = emptied.filter((column) => (INSERT_COLUMNS as readonly string[]).includes(column));
  if (sent.length > 0) {
    const why =
      '`verify` calls events altered once it has emptied them, and `repair` sends them again: let it be longer than Postgres keeps them, or remove it.';
    const fixes = sent.map((column) => query(`ALTER TABLE ${name} MODIFY COLUMN ${column} REMOVE TTL`));
    return [bad('warning', id, `a TTL empties the columns ${sent.join(', ')}`, why, ...fixes)];
  }
  const other = await otherRetention(subject);
  if (other !== undefined) return [other];
  const expiry = expiryOf(row.engine_full);
  if (expiry === undefined) return [ok(id, 'no TTL removes events')];
  const days = config.retentionDays + 1;
  const { seconds, column } = expiry;
  const found =
    seconds === undefined
      ? 'the table has a TTL that removes events, and after what time cannot be read here'
      : `the table’s TTL removes events after ${seconds < DAY_S ? `${seconds} s` : `${Math.floor(seconds / DAY_S)} days`}`;
  // without retention, nobody here knows for how long Postgres keeps them
  if (config.retentionDays === 0 || (seconds !== undefined && seconds >= days * DAY_S)) return [ok(id, found)];
  const why = `Postgres keeps them for OUTBOX_RETENTION_DAYS (${config.retentionDays}) and a day: until then \`verify\` calls them missing, and each \`repair\` sends them again. Let the TTL be longer.`;
  const fixes =
    column === undefined ? [] : [query(`ALTER TABLE ${name} MODIFY TTL ${column} + INTERVAL ${days} DAY DELETE`)];
  return [bad('warning', id, found, why, ...fixes)];
}

/** What `migrate` would make of OUTBOX_CLICKHOUSE_RETENTION, where it is set, and the table has not. */
async function otherRetention({ clickhouse, config, altered }: ClickHouseSubject): Promise<Finding | undefined> {
  if (config.clickhouseRetention === '') return undefined;
  const { policy } = readPolicy(config.clickhouseRetention, 0);
  const target = { table: config.clickhouseTable, cluster: config.clickhouseCluster };
  const { present, foreign, isInPlace } = await tableRetention(clickhouse, target, policy);
  if (isInPlace) return undefined;
  const found = `the table’s TTL is ${present === '' ? 'none' : present}, and not what OUTBOX_CLICKHOUSE_RETENTION says`;
  const why = 'Events stay longer than they should, or are removed too soon.';
  const byHand = foreign.length === 0 ? [] : [query(`ALTER TABLE ${altered} REMOVE TTL`)];
  return bad('warning', 'clickhouse.ttl', found, why, ...byHand, command('migrate'));
}

async function parts({ clickhouse, config, table: name }: ClickHouseSubject): Promise<Finding[]> {
  const id = 'clickhouse.parts';
  const [most] = await clickhouse.select<{ parts: string; limit: string }>(
    `SELECT toString(max(n)) AS parts,
            (SELECT toString(if(own = '', value, own))
               FROM (SELECT value FROM system.merge_tree_settings WHERE name = 'parts_to_throw_insert') AS defaults,
                    (SELECT extract(engine_full, 'parts_to_throw_insert = (\\\\d+)') AS own FROM system.tables
                      WHERE database = currentDatabase() AND name = {table:String}) AS definition) AS limit
       FROM (SELECT count() AS n FROM system.parts
              WHERE active AND database = currentDatabase() AND table = {table:String} GROUP BY partition_id)`,
    { table: config.clickhouseTable },
  );
  const count = Number(most?.parts ?? 0);
  const limit = Number(most?.limit ?? 0);
  const found = `${count} of ${limit} parts in the fullest partition`;
  if (limit === 0 || count < limit / 2) return [ok(id, found)];
  const why =
    'At the limit ClickHouse refuses inserts (TOO_MANY_PARTS). Merges do not keep up: are they stopped? Fewer, larger inserts: raise OUTBOX_FLUSH_INTERVAL_MS.';
  const fixes = [query(`SYSTEM START MERGES ${name}`), query(`OPTIMIZE TABLE ${name}`)];
  return [bad(count >= limit ? 'error' : 'warning', id, found, why, ...fixes)];
}
