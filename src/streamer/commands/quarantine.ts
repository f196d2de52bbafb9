import { OutboxError } from '../../errors.ts';
import { oneLine } from '../../one-line.ts';
import { readConfig, type Config } from '../config.ts';
import { ClickHouse } from '../clickhouse/client.ts';
import { quorumOf } from '../clickhouse/settings.ts';
import { checkTarget } from '../clickhouse/target.ts';
import { Database } from '../source/database.ts';
import { confirm } from './confirm.ts';
import { groupLines, printQuarantine, type Listed } from './quarantine-list.ts';
import { retry } from './quarantine-retry.ts';
import { say } from './terminal.ts';
import { parseUsage } from './usage.ts';

const HELP = `Usage: pg-outbox-clickhouse quarantine <list | retry | discard> [id …] [options]

Events that ClickHouse rejected, each sent alone, are kept in outbox.quarantine
with their exact text.

  list            which they are, grouped by type and reason; their contents:
                  SELECT event_context FROM outbox.quarantine
  retry [id …]    insert them again, each exactly once, and take them out of
                  quarantine
  discard [id …]  give them up, after it has asked; they stay in the table,
                  marked, and are not listed

Options
  --all   every event of this slot, where no ids are given; with list: discarded
          ones too
  --yes   discard does not ask
  --json  one JSON document on stdout

Exit codes
  0  done
  1  some were rejected again or failed, views may lack them, or not discarded
  2  wrong usage or configuration
`;

const ACTIONS = ['list', 'retry', 'discard'];

/** What became of how many events, by the words of --json. */
type Outcome = Record<string, number>;

/** Runs the command. Returns the exit code; throws OutboxErrors OUTBOX_CONFIG_INVALID, OUTBOX_PG_* and OUTBOX_CH_*. */
export async function quarantineCommand(args: string[], env: NodeJS.ProcessEnv): Promise<number> {
  const usage = parseUsage(args, {
    options: {
      all: { type: 'boolean', default: false },
      yes: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
    },
    help: HELP,
    check: ({ positionals, values }) => mistake(positionals, values),
  });
  if (typeof usage === 'number') return usage;
  const [action, ...ids] = usage.positionals;
  const { all, yes, json } = usage.values;
  const config = readConfig(env);
  const db = await Database.connect(config, {}, () => undefined);
  try {
    if (action === 'list') {
      const rows = await list(db, config.slot, all);
      if (json) process.stdout.write(`${JSON.stringify(rows)}\n`);
      else say(printQuarantine(rows));
      return 0;
    }
    const unknown = await unknownOf(db, config.slot, ids);
    if (unknown.length > 0) {
      say(`no event of the slot "${config.slot}" in quarantine has the id ${unknown.join(', ')}\n`, process.stderr);
      return 1;
    }
    const chosen = all && ids.length === 0 ? (await list(db, config.slot, false)).map(({ id }) => id) : ids;
    if (action === 'discard' && !yes && !(await isApproved(db, config.slot, chosen))) return 1;
    const outcome =
      action === 'retry'
        ? await retryAll(db, config, chosen, json ? () => undefined : (line) => say(`${oneLine(line)}\n`))
        : await discard(db, config.slot, chosen);
    if (json) process.stdout.write(`${JSON.stringify(outcome)}\n`);
    else say(printOutcome(outcome));
    return (outcome['refused'] ?? 0) + (outcome['views unproven'] ?? 0) === 0 ? 0 : 1;
  } finally {
    await db.close();
  }
}

function mistake(
  [action, ...ids]: string[],
  { all, yes, json }: { all: boolean; yes: boolean; json: boolean },
): string | undefined {
  if (action === undefined || !ACTIONS.includes(action)) return `An action is needed: ${ACTIONS.join(', ')}`;
  const odd = ids.find((id) => !/^\d{1,18}$/.test(id));
  if (odd !== undefined) return `${JSON.stringify(odd)} is no id of the quarantine`;
  if (action !== 'list' && ids.length === 0 && !all) return 'Give ids, or --all';
  if (action !== 'discard' && yes) return '--yes is for discard';
  return action === 'discard' && json && !yes ? 'discard asks, which --json cannot: add --yes' : undefined;
}

/** Shows what would be given up, and asks. Where there is nothing, there is nothing to ask. */
async function isApproved(db: Database, slot: string, ids: readonly string[]): Promise<boolean> {
  const given = new Set(ids.map((id) => BigInt(id).toString()));
  const rows = (await list(db, slot, false)).filter(({ id }) => given.has(id));
  if (rows.length === 0) return true;
  say(`${groupLines(rows).join('\n')}\n`);
  const these = rows.length === 1 ? 'this event' : `these ${rows.length.toLocaleString('en-US')} events`;
  const answer = await confirm(`ClickHouse will not get ${these}. Discard?`);
  if (answer === true) return true;
  say(answer === undefined ? 'Nothing was discarded: no terminal to ask on. Add --yes.\n' : 'Nothing was discarded.\n');
  return false;
}

function printOutcome(outcome: Outcome): string {
  const parts = Object.entries(outcome).filter(([, count]) => count > 0);
  const text = parts
    .map(([what, count]) => `${count.toLocaleString('en-US')} ${what === 'refused' ? 'rejected again' : what}`)
    .join(', ');
  return `${text === '' ? 'nothing to do' : text}\n`;
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

async function discard(db: Database, slot: string, ids: readonly string[]): Promise<Outcome> {
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
  tell: (line: string) => void,
): Promise<Outcome> {
  const clickhouse = new ClickHouse(config, config.insertTimeoutMs, quorumOf(config));
  const outcome = { delivered: 0, 'there already': 0, 'views unproven': 0, refused: 0, gone: 0 };
  if (ids.length > 1)
    say(`retrying ${ids.length.toLocaleString('en-US')} events, one after the other\n`, process.stderr);
  try {
    const { views } = await checkTarget(clickhouse, config.clickhouseTable);
    for (const id of ids) {
      try {
        const became = await retry(db, clickhouse, config, id, views.length > 0);
        outcome[became]++;
        if (became === 'views unproven') tell(`${id}  ${new OutboxError('OUTBOX_CH_VIEWS_UNPROVEN').message}`);
      } catch (error) {
        // what concerns one event alone; anything else would be the same for the next
        if (!(error instanceof OutboxError) || error.code !== 'OUTBOX_CH_ROW_REFUSED') throw error;
        outcome.refused++;
        tell(`${id}  rejected again: ${error.message}`);
      }
    }
  } finally {
    await clickhouse.close();
  }
  return outcome;
}
