import { oneLine } from '../../one-line.ts';
import { readConfig } from '../config.ts';
import { parseNames, printAdoption, type OwnNames } from './adopt.ts';
import { confirm } from './confirm.ts';
import {
  adoptTable,
  migrateClickHouse,
  refuseForeignTable,
  type Approve,
  type ClickHouseTarget,
  type Report,
} from './migrate-clickhouse.ts';
import { say } from './terminal.ts';
import { parseUsage, refusePositionals } from './usage.ts';
import { migratePostgres } from './migrate-postgres.ts';

const HELP = `Usage: pg-outbox-clickhouse migrate [--adopt [--columns PAIRS] [--yes]] [--json]

Brings both databases to the newest schema, restores the publication, and makes
the slot where there never was one. It says of each thing whether it made it or
found it unchanged. It may be run while streamers run.

Options
  --adopt            first makes your own ClickHouse table one that the streamer
                     can fill: shows what it would add and why, and asks. No
                     row, type or order of what is there changes
  --columns <pairs>  your names for columns, where they are others:
                     kind=event_type,at=event_date_time
  --yes              does not ask
  --json             one JSON document on stdout: { "done": [ … ] }

Exit codes
  0  up to date
  1  failed, or not adopted
  2  wrong usage or configuration
`;

/** `pg-outbox-clickhouse migrate`: returns the exit code. Throws what the two migrations throw, and OUTBOX_CONFIG_INVALID. */
export async function migrateCommand(args: string[], env: NodeJS.ProcessEnv): Promise<number> {
  const usage = parseUsage(args, {
    options: {
      adopt: { type: 'boolean', default: false },
      columns: { type: 'string', default: '' },
      yes: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
    },
    help: HELP,
    check: (parsed) => refusePositionals(parsed) ?? mistake(parsed.values),
  });
  if (typeof usage === 'number') return usage;
  const { adopt, columns, yes, json } = usage.values;
  const config = readConfig(env);
  const { clickhouseTable, clickhouseCluster, clickhouseRetention, slot, slotFailover } = config;
  const done: string[] = [];
  const report: Report = (line) => {
    done.push(line);
    if (!json) say(`${oneLine(line)}\n`);
  };
  const target = { table: clickhouseTable, cluster: clickhouseCluster, retention: clickhouseRetention };
  const names = parseNames(columns) as OwnNames;
  // before anything is made in Postgres: without a table to fill, a slot would only keep WAL
  if (adopt && !(await adoptTable(config, target, { names, approve: approval(target, yes, report), report }))) return 1;
  await refuseForeignTable(config, clickhouseTable);
  await migratePostgres(config, slot, report, slotFailover === 'on');
  await migrateClickHouse(config, target, report);
  if (json) process.stdout.write(`${JSON.stringify({ done }, null, 2)}\n`);
  return 0;
}

function mistake(given: { adopt: boolean; columns: string; yes: boolean; json: boolean }): string | undefined {
  if (!given.adopt && (given.yes || given.columns !== '')) return '--columns and --yes are for --adopt';
  if (given.adopt && given.json && !given.yes) return '--adopt asks, which --json cannot: add --yes';
  const names = parseNames(given.columns);
  return typeof names === 'string' ? names : undefined;
}

/** Shows what would be changed, and asks. */
function approval({ table }: ClickHouseTarget, isGiven: boolean, report: Report): Approve {
  return async (adoption) => {
    for (const line of printAdoption(table, adoption)) report(line);
    const answer = isGiven || (await confirm('Apply this?'));
    if (answer === true) return true;
    report(answer === undefined ? 'Nothing was changed: no terminal to ask on. Add --yes.' : 'Nothing was changed.');
    return false;
  };
}
