import { oneLine } from '../../one-line.ts';
import { parseDuration } from '../compare/window.ts';
import { readConfig, type Config } from '../config.ts';
import { Eraser, type EraseReport, type Found } from '../erase/erase.ts';
import type { Filter } from '../erase/filter.ts';
import { tombstonesOf } from '../erase/table.ts';
import { confirm } from './confirm.ts';
import { say } from './terminal.ts';
import { parseUsage, refusePositionals } from './usage.ts';

const HELP = `Usage: pg-outbox-clickhouse erase <conditions> --reason <text> [options]

Removes events for ever: from outbox.event, from outbox.quarantine and from the
table in ClickHouse. It counts them first and asks. What is committed by then is
erased; later events stay. It waits until streamers have delivered everything
that is committed, so that nothing comes back, and until ClickHouse has written
its parts again without the events, on all replicas. Then it looks once more.

outbox.erasure, and a table beside the events, say that somebody erased how many
events, when and why. A tombstone for each event in ClickHouse holds its
digests alone. If it is interrupted, run it again with the same conditions: it
goes on.

Conditions: at least one of the first three. Each may be given several times,
and one value of each must be the event's.
  --subject <text>      whom or what it is about
  --event-id <uuid>     the event itself
  --type <type>         its event_type
  --environment <name>  its environment, beside another condition

Options
  --reason <text>  why, to be kept for ever: name no person in it
  --source <name>  also rows in ClickHouse of this source, whose outbox is gone
  --wait <time>    how long streamers may take to deliver (10m)
  --dry-run        count only; change nothing
  --yes            does not ask
  --json           one JSON document on stdout

Exit codes
  0  nothing is left
  1  failed, not erased, or rows are left that it may not touch: it names them
  2  wrong usage or configuration
`;

const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
const MAX_WAIT_MS = 86_400_000;
/** They go with each question. */
const MAX_VALUES = 1000;
const MAX_REASON = 500;

interface Values {
  readonly subject: string[];
  readonly 'event-id': string[];
  readonly type: string[];
  readonly environment: string[];
  readonly source: string[];
  readonly reason: string;
  readonly wait: string;
  readonly 'dry-run': boolean;
  readonly yes: boolean;
  readonly json: boolean;
}

/** `pg-outbox-clickhouse erase`: returns the exit code. Throws OutboxErrors. */
export async function eraseCommand(args: string[], env: NodeJS.ProcessEnv): Promise<number> {
  const several = { type: 'string', multiple: true, default: [] as string[] } as const;
  const usage = parseUsage(args, {
    options: {
      subject: several,
      'event-id': several,
      type: several,
      environment: several,
      source: several,
      reason: { type: 'string', default: '' },
      wait: { type: 'string', default: '10m' },
      'dry-run': { type: 'boolean', default: false },
      yes: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
    },
    help: HELP,
    check: ({ positionals, values }) => refusePositionals({ positionals }) ?? mistake(values),
  });
  if (typeof usage === 'number') return usage;
  const { values } = usage;
  const { json } = values;
  const config = readConfig(env);
  const filter: Filter = {
    subjects: values.subject,
    ids: values['event-id'].map((id) => id.toLowerCase()),
    types: values.type,
    environments: values.environment,
  };
  await using eraser = await Eraser.open(config, {
    filter,
    sources: values.source,
    waitMs: parseDuration(values.wait)!,
  });
  const found = await eraser.count();
  const isBegun = (await eraser.unfinished()) !== undefined;
  if (!json) say(printFound(config, found));
  const isNothing = found.outbox + found.quarantine + found.clickhouse === 0 && !isBegun;
  const isLeft = found.ofOthers + found.onOtherShards + found.detachedParts > 0;
  if (values['dry-run'] || isNothing) {
    if (json) process.stdout.write(`${JSON.stringify({ found, erased: null }, null, 2)}\n`);
    else say(values['dry-run'] ? 'Nothing was changed.\n' : 'Nothing to erase.\n');
    return isLeft ? 1 : 0;
  }
  if (!values.yes && !(await isApproved())) return 1;
  const erased = await eraser.erase(values.reason, (line) => say(`${oneLine(line)}\n`, process.stderr));
  if (json) process.stdout.write(`${JSON.stringify({ found, erased }, null, 2)}\n`);
  else say(printErased(config, erased));
  return isLeft ? 1 : 0;
}

/** Every problem, one a line. */
function mistake(values: Values): string | undefined {
  const { subject, 'event-id': ids, type, environment, source, reason, wait, json, yes, 'dry-run': isDry } = values;
  const problems: string[] = [];
  if (subject.length + ids.length + type.length === 0) problems.push('Give --subject, --event-id or --type');
  const lists = { subject, 'event-id': ids, type, environment, source };
  for (const [name, list] of Object.entries(lists))
    if (list.length > MAX_VALUES) problems.push(`--${name} may be given ${MAX_VALUES} times at most`);
  // the empty subject is that of all events which are about nobody
  for (const [name, list] of Object.entries({ subject, type, source }))
    if (list.includes('')) problems.push(`--${name} must not be empty`);
  if (ids.some((id) => !UUID.test(id))) problems.push('--event-id must be a UUID');
  const waitMs = parseDuration(wait) ?? Infinity;
  if (waitMs > MAX_WAIT_MS) problems.push('--wait must be a duration such as 10m, of a day at most');
  if (!isDry && reason.trim() === '') problems.push('Say why with --reason, or count with --dry-run');
  if (reason.length > MAX_REASON) problems.push(`--reason must have ${MAX_REASON} characters at most`);
  if (json && !yes && !isDry) problems.push('erase asks, which --json cannot: add --yes or --dry-run');
  return problems.length === 0 ? undefined : problems.join('\n');
}

async function isApproved(): Promise<boolean> {
  const answer = await confirm('These events cannot be brought back. Erase?');
  if (answer === true) return true;
  say(answer === undefined ? 'Nothing was erased: no terminal to ask on. Add --yes.\n' : 'Nothing was erased.\n');
  return false;
}

function printFound({ schema, clickhouseTable }: Config, found: Found): string {
  const rows: [string, number][] = [
    [`${schema}.event`, found.outbox],
    [`${schema}.quarantine`, found.quarantine],
    [`${clickhouseTable} in ClickHouse`, found.clickhouse],
  ];
  const width = Math.max(...rows.map(([name]) => name.length));
  const lines = rows.map(([name, count]) => `${name.padEnd(width)}  ${count.toLocaleString('en-US')}`);
  if (found.ofOthers > 0)
    lines.push(
      `${found.ofOthers.toLocaleString('en-US')} rows of ${clickhouseTable} came from other outboxes and stay: run erase with the DATABASE_URL of each, or give --source where there is none any more`,
    );
  if (found.onOtherShards > 0)
    lines.push(
      `${found.onOtherShards.toLocaleString('en-US')} rows are on other shards: run erase with the CLICKHOUSE_URL and the OUTBOX_SHARD of each`,
    );
  for (const name of found.fed)
    lines.push(`A materialized view fills ${name}: what it holds of these events is not known here. Remove it by hand`);
  if (found.detachedParts > 0)
    lines.push(
      `${found.detachedParts} parts of ${clickhouseTable} are detached, and were not looked into: attach them, or drop them, then run erase`,
    );
  return `${lines.join('\n')}\n`;
}

function printErased(
  { schema, clickhouseTable }: Config,
  { erasure, outbox, quarantine, events, newer }: EraseReport,
): string {
  const lines = [
    `Erased: nothing is left in ${schema}.event, ${schema}.quarantine and ${clickhouseTable} of what was committed before.`,
    `${outbox.toLocaleString('en-US')} removed from ${schema}.event, ${quarantine.toLocaleString('en-US')} from ${schema}.quarantine; ${events.toLocaleString('en-US')} tombstones in ${tombstonesOf(clickhouseTable)} (erasure ${erasure})`,
    'Out of reach: backups of both databases, the WAL of Postgres and dead rows until VACUUM, old parts of ClickHouse until it removes them (8 minutes, old_parts_lifetime).',
  ];
  if (newer > 0) lines.push(`${newer.toLocaleString('en-US')} newer events were emitted meanwhile, and stay`);
  return `${lines.join('\n')}\n`;
}
