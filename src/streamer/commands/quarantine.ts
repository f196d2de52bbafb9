import { OutboxError } from '../../errors.ts';
import { readConfig, type Config } from '../config.ts';
import { ClickHouse } from '../clickhouse/client.ts';
import { quorumOf } from '../clickhouse/settings.ts';
import { checkTarget } from '../clickhouse/target.ts';
import { Database } from '../source/database.ts';
import { retry } from './quarantine-retry.ts';
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
  const db = await Database.connect(config, {}, () => undefined);
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
  const clickhouse = new ClickHouse(config, config.insertTimeoutMs, quorumOf(config));
  const outcome = { delivered: 0, 'there already': 0, 'views unproven': 0, refused: 0, gone: 0 };
  try {
    const { views } = await checkTarget(clickhouse, config.clickhouseTable);
    for (const id of ids) {
      try {
        const became = await retry(db, clickhouse, config, id, views.length > 0);
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
