import { effectiveSettings } from '../config.ts';
import { paint, say } from './terminal.ts';
import { parseUsage } from './usage.ts';

const HELP = `Usage: pg-outbox-clickhouse config [--json]

Prints the settings that a streamer with this environment would run with, and
where each comes from. URLs lose their passwords, and every parameter that is
not known to be harmless.

Options
  --json  one JSON document on stdout:
          { "OUTBOX_SLOT": { "value": "outbox", "from": "default" }, … }

Exit codes
  0  printed
  2  wrong usage or configuration; all problems are named
`;

/** `pg-outbox-clickhouse config`: returns the exit code. Throws OUTBOX_CONFIG_INVALID. */
export async function configCommand(args: string[], env: NodeJS.ProcessEnv): Promise<number> {
  const usage = parseUsage(args, { options: { json: { type: 'boolean', default: false } }, help: HELP });
  if (typeof usage === 'number') return usage;
  const settings = effectiveSettings(env);
  if (usage.values.json) {
    const document = Object.fromEntries(settings.map(({ name, value, from }) => [name, { value, from }]));
    process.stdout.write(`${JSON.stringify(document, null, 2)}\n`);
    return 0;
  }
  const nameWidth = Math.max(...settings.map(({ name }) => name.length));
  const fromWidth = 'environment'.length;
  say(`${'setting'.padEnd(nameWidth)}  ${'from'.padEnd(fromWidth)}  value\n`);
  for (const { name, value, from } of settings) {
    const line = `${name.padEnd(nameWidth)}  ${from.padEnd(fromWidth)}  ${value === '' ? '(empty)' : value}`;
    say(`${from === 'default' ? paint('dim', line) : line}\n`);
  }
  return 0;
}
