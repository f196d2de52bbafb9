import { OutboxError } from '../../errors.ts';
import { readConfig, type Config } from '../config.ts';
import { whereCurrent } from '../clickhouse/current.ts';
import { INSERT_COLUMNS } from '../clickhouse/columns.ts';
import { ClickHouse } from '../clickhouse/client.ts';
import { quorumOf } from '../clickhouse/settings.ts';
import { checkTarget } from '../clickhouse/target.ts';
import { TOKEN_TRUST_MS } from '../delivery/retry.ts';
import { Database } from '../source/database.ts';
import { parseUsage } from './usage.ts';
import type { Report } from './migrate-clickhouse.ts';

const HELP = `Usage: pg-outbox-clickhouse quarantine <list | retry | discard> [id …] [options]

Events that ClickHouse refused, each alone, are kept in outbox.quarantine with their exact text.

  list              which they are, and why; their contents: SELECT event_context FROM outbox.quarantine
  retry [id …]      insert them again, each exactly once, and take them out of quarantine
  discard [id …]    give them up; they stay in the table, marked, and are not listed

Options
  --all             every event of this slot, where no ids are given; with list: discarded ones too
  --json            one JSON document on stdout

Exit codes
  0 done   1 some were refused again or failed, or views may lack them   2 wrong usage or configuration
`;

const ACTIONS = ['list', 'retry', 'discard'];

interface Listed {
  id: string;
  lsn: string;
  seq: string;
  event_id: string;
  event_type: string;
  reason: string;
  quarantined_at: Date;
  discarded_at: Date | null;
}

/** The row as ClickHouse will read it, under the names of its columns. */
type Row = Record<(typeof INSERT_COLUMNS)[number], string>;

/** Runs the command. Returns the exit code; throws OutboxErrors OUTBOX_CONFIG_INVALID, OUTBOX_PG_* and OUTBOX_CH_*. */
export async function quarantineCommand(args: string[], env: NodeJS.ProcessEnv): Promise<number> {
  const usage = parseUsage(args, {
    options: { all: { type: 'boolean', default: false }, json: { type: 'boolean', default: false } },
    help: HELP,
    check: ({ positionals, values }) => mistake(positionals, values.all),
  });
  if (typeof usage === 'number') return usage;
  const [action, ...ids] = usage.positionals;
  const { all, json } = usage.values;
  const config = readConfig(env);
  const say: Report = (text) => void process.stdout.write(`${text}\n`);
  const db = await Database.connect(config.databaseUrl, {}, () => undefined);
  try {
    if (action === 'list') {
      const rows = await list(db, config.slot, all);
      say(json ? JSON.stringify(rows) : rows.map(line).join('\n') || 'the quarantine is empty');
      return 0;
    }
    const unknown = await unknownOf(db, config.slot, ids);
    if (unknown.length > 0) {
      process.stderr.write(`no event of the slot "${config.slot}" in quarantine has the id ${unknown.join(', ')}\n`);
      return 1;
    }
    const chosen = all && ids.length === 0 ? (await list(db, config.slot, false)).map(({ id }) => id) : ids;
    const outcome =
      action === 'retry'
        ? await retryAll(db, config, chosen, json ? () => undefined : say)
        : await discard(db, config.slot, chosen);
    const document = JSON.stringify(outcome);
    say(json ? document : document.replaceAll(/["{}]/g, '').replaceAll(',', ', '));
    return (outcome['refused'] ?? 0) + (outcome['views unproven'] ?? 0) === 0 ? 0 : 1;
  } finally {
    await db.close();
  }
}

function mistake([action, ...ids]: string[], all: boolean): string | undefined {
  if (action === undefined || !ACTIONS.includes(action)) return `An action is needed: ${ACTIONS.join(', ')}`;
  const odd = ids.find((id) => !/^\d{1,18}$/.test(id));
  if (odd !== undefined) return `${JSON.stringify(odd)} is no id of the quarantine`;
  return action !== 'list' && ids.length === 0 && !all ? 'Give ids, or --all' : undefined;
}

/** Which of these ids no event of the slot has, discarded ones included. */
async function unknownOf(db: Database, slot: string, ids: readonly string[]): Promise<string[]> {
  const { rows } = await db.query<{ id: string }>(
    'SELECT id::text AS id FROM outbox.quarantine WHERE slot_name = $1 AND id = ANY($2)',
    [slot, ids],
  );
  const there = new Set(rows.map(({ id }) => id));
  return ids.filter((id) => !there.has(BigInt(id).toString()));
}

async function list(db: Database, slot: string, all: boolean): Promise<Listed[]> {
  const { rows } = await db.query<Listed>(
    `SELECT id, lsn, seq, event_id, event_type, reason, quarantined_at, discarded_at
       FROM outbox.quarantine WHERE slot_name = $1 AND ($2 OR discarded_at IS NULL) ORDER BY id`,
    [slot, all],
  );
  return rows;
}

function line({
  id,
  lsn,
  seq,
  event_id: eventId,
  event_type: type,
  reason,
  quarantined_at: at,
  discarded_at: gone,
}: Listed): string {
  const mark = gone === null ? '' : `  discarded ${gone.toISOString()}`;
  return `${id}  ${at.toISOString()}  ${lsn}:${seq}  ${eventId}  ${JSON.stringify(type)}  ${reason}${mark}`;
}

async function discard(db: Database, slot: string, ids: readonly string[]): Promise<Record<string, number>> {
  const { count } = await db.query(
    'UPDATE outbox.quarantine SET discarded_at = now() WHERE slot_name = $1 AND id = ANY($2) AND discarded_at IS NULL',
    [slot, ids],
  );
  return { discarded: count };
}

async function retryAll(
  db: Database,
  config: Config,
  ids: readonly string[],
  say: Report,
): Promise<Record<string, number>> {
  const clickhouse = new ClickHouse(config.clickhouseUrl, config.insertTimeoutMs, quorumOf(config));
  const outcome = { delivered: 0, 'there already': 0, 'views unproven': 0, refused: 0, gone: 0 };
  try {
    const { views } = await checkTarget(clickhouse, config.clickhouseTable);
    for (const id of ids) {
      try {
        const became = await retry(db, clickhouse, config, id, views > 0);
        outcome[became]++;
        if (became === 'views unproven') say(`${id}  ${new OutboxError('OUTBOX_CH_VIEWS_UNPROVEN').message}`);
      } catch (error) {
        // what concerns one event alone; anything else would be the same for the next
        if (!(error instanceof OutboxError) || error.code !== 'OUTBOX_CH_ROW_REFUSED') throw error;
        outcome.refused++;
        say(`${id}  refused again: ${error.message}`);
      }
    }
  } finally {
    await clickhouse.close();
  }
  return outcome;
}

/**
 * Inserts one event and takes it out of quarantine. Killed anywhere between, it is found in ClickHouse by the next call, or
 * recognised by its token; of two calls at once, one passes it by. An insert without an answer is not repeated here: the next
 * call looks first. What an earlier call has left in the table, its views may lack.
 */
async function retry(
  db: Database,
  clickhouse: ClickHouse,
  { slot, clickhouseTable: table }: Config,
  id: string,
  hasViews: boolean,
): Promise<'delivered' | 'there already' | 'views unproven' | 'gone'> {
  const { rows: earlier } = await db.query<{ isTrusted: boolean }>(
    `SELECT clock_timestamp() - retried_at < make_interval(secs => $3) AS "isTrusted"
       FROM outbox.quarantine WHERE slot_name = $1 AND id = $2 AND retried_at IS NOT NULL`,
    [slot, id, TOKEN_TRUST_MS / 1000],
  );
  // an earlier call may have failed at a view: the same insert completes it, as long as its token is remembered
  const completes = hasViews && earlier[0]?.isTrusted === true;
  // a repeated insert must carry the same time
  await db.query(
    `UPDATE outbox.quarantine SET retried_at = coalesce(retried_at, date_trunc('milliseconds', now()))
      WHERE id = (SELECT id FROM outbox.quarantine WHERE slot_name = $1 AND id = $2 FOR UPDATE SKIP LOCKED)`,
    [slot, id],
  );
  await db.query('BEGIN');
  try {
    const { rows } = await db.query<Row>(
      `SELECT event_type, ${instant('event_date_time')}, environment, event_context AS event_context_text,
              metadata_version::text, event_id::text, source, (lsn - '0/0')::text AS lsn, seq::text,
              ${instant('committed_at')}, ${instant('retried_at', 'delivered_at')}, trace_id, span_id, recorded_by, 'quarantine' AS origin
         FROM outbox.quarantine WHERE slot_name = $1 AND id = $2 AND discarded_at IS NULL FOR UPDATE SKIP LOCKED`,
      [slot, id],
    );
    const [row] = rows;
    if (row === undefined) {
      await db.query('ROLLBACK');
      return 'gone';
    }
    const isThere = await find(clickhouse, table, row);
    if (!isThere || completes) {
      try {
        await insert(clickhouse, table, row);
      } catch (error) {
        // a row may hold the words by which a view that failed is known; a view fails behind a row that is there
        const isView = error instanceof OutboxError && error.code === 'OUTBOX_CH_VIEW_FAILED';
        if (!isView || (await find(clickhouse, table, row))) throw error;
        throw new OutboxError('OUTBOX_CH_ROW_REFUSED', { detail: error.message, clickhouseCode: error.clickhouseCode });
      }
      // an insert that ClickHouse takes for a repetition is dropped without a word
      if (!(await find(clickhouse, table, row)))
        throw new OutboxError('OUTBOX_QUARANTINE_DROPPED', {
          detail: `the event ${row.event_id} was inserted, and is not there`,
        });
    }
    await db.query('DELETE FROM outbox.quarantine WHERE slot_name = $1 AND id = $2', [slot, id]);
    await db.query('COMMIT');
    if (!isThere) return 'delivered';
    return hasViews && earlier.length > 0 && !completes ? 'views unproven' : 'there already';
  } catch (error) {
    await db.query('ROLLBACK').catch(() => undefined);
    // under another time it has another token
    if (error instanceof OutboxError && error.code === 'OUTBOX_QUARANTINE_DROPPED')
      await db.query('UPDATE outbox.quarantine SET retried_at = NULL WHERE slot_name = $1 AND id = $2', [slot, id]);
    throw error;
  }
}

function instant(column: string, name = column): string {
  return `to_char(${column} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS ${name}`;
}

async function find(clickhouse: ClickHouse, table: string, { source, lsn, seq, event_id: id }: Row): Promise<boolean> {
  const current = await whereCurrent(clickhouse, table);
  const [found] = await clickhouse.select<{ rows: string }>(
    `SELECT toString(count()) AS rows FROM {table:Identifier}
      WHERE ${current} AND source = {source:String} AND lsn = {lsn:UInt64} AND seq = {seq:UInt32} AND event_id = {id:UUID}`,
    { table, source, lsn, seq, id },
  );
  return found!.rows !== '0';
}

async function insert(clickhouse: ClickHouse, table: string, row: Row): Promise<void> {
  // an id of outbox.quarantine may come again after a failover
  const token = `${row.source}/quarantine/${row.lsn}:${row.seq}/${row.event_id}@${row.delivered_at}`;
  await clickhouse.insert(
    {
      query: `INSERT INTO {table:Identifier} (${INSERT_COLUMNS.join(', ')}) FORMAT JSONEachRow`,
      parameters: { table },
      rows: 1,
      token,
      queryId: token,
      body: [Buffer.from(JSON.stringify(row))],
    },
    new AbortController().signal,
  );
}
