import { readConfig } from '../config.ts';
import { parseUsage } from './usage.ts';
import { examine } from './doctor/examine.ts';
import { printFindings } from './doctor/print.ts';
import { tellWaking } from './progress.ts';

const HELP = `Usage: pg-outbox-clickhouse doctor [--all] [--json]

Checks both databases, the slot and the streamer that holds it, with the
streamer's own privileges, and changes nothing. Each finding has an id that
stays the same, what was found, why it matters, and commands that fix it, in the
order in which they work. It names what this role may not see.

Options
  --all   also what is in order
  --json  one JSON document on stdout, with what is in order:
          { "errors": 0, "warnings": 1, "findings": [ { "id", "level", "found",
          "why", "fix": [ { "in": "postgres" | "clickhouse" | "shell" |
          "console", "run" } ] } ] }

Exit codes
  0  no errors; there may be warnings
  1  errors
  2  wrong usage or configuration
`;

/** `pg-outbox-clickhouse doctor`: returns the exit code. Throws OUTBOX_CONFIG_INVALID. */
export async function doctorCommand(args: string[], env: NodeJS.ProcessEnv): Promise<number> {
  const usage = parseUsage(args, {
    options: { all: { type: 'boolean', default: false }, json: { type: 'boolean', default: false } },
    help: HELP,
  });
  if (typeof usage === 'number') return usage;
  const { errors, warnings, findings } = await examine(readConfig(env), env, tellWaking);
  const { all, json } = usage.values;
  process.stdout.write(
    json ? `${JSON.stringify({ errors, warnings, findings }, null, 2)}\n` : printFindings(findings, all),
  );
  return errors === 0 ? 0 : 1;
}
