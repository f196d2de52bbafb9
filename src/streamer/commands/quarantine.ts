import { oneLine } from '../../one-line.ts';
import { readConfig } from '../config.ts';
import { Database } from '../source/database.ts';
import { confirm } from './confirm.ts';
import { discard, list, retryAll, unknownOf, type Outcome } from './quarantine-events.ts';
import { groupLines, printQuarantine } from './quarantine-list.ts';
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
    if (action === 'retry' && chosen.length > 1)
      say(`retrying ${chosen.length.toLocaleString('en-US')} events, one after the other\n`, process.stderr);
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
