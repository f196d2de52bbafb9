import { fold } from './terminal.ts';

type Env = NodeJS.ProcessEnv;

/** One command of the program. Its module is loaded when it runs: what only a migration needs would cost the streamer memory. */
export interface Command {
  readonly summary: string;
  /** Arguments and what they are for. */
  readonly examples: readonly (readonly [args: string, purpose: string])[];
  /** Returns the exit code. Throws OutboxErrors. */
  readonly run: (args: string[], env: Env) => Promise<number>;
}

/** In the order in which they are listed. */
export const COMMANDS: Readonly<Record<string, Command>> = {
  run: {
    summary: 'stream until SIGTERM or SIGINT',
    examples: [['run', 'stream; logs are JSON lines on stdout']],
    run: async (args, env) => (await import('./run.ts')).runCommand(args, env),
  },
  dev: {
    summary: 'start Postgres, ClickHouse and a streamer on this host, for the application that you develop',
    examples: [
      ['dev', 'until Ctrl-C, with nothing left behind'],
      ['dev --directory .outbox', 'with the data of the last time'],
    ],
    run: async (args, env) => (await import('./dev.ts')).devCommand(args, env),
  },
  migrate: {
    summary: 'bring both databases to the newest schema, and make the slot',
    examples: [['migrate', 'as the database’s owner with REPLICATION; again at any time']],
    run: async (args, env) => (await import('./migrate.ts')).migrateCommand(args, env),
  },
  doctor: {
    summary: 'look at both databases for what is wrong, and print how to fix it',
    examples: [
      ['doctor', 'before the first start, and whenever something is wrong'],
      ['doctor --all', 'also what is in order'],
      ['doctor --json | jq \'.findings[] | select(.level == "error")\'', 'for a script'],
    ],
    run: async (args, env) => (await import('./doctor.ts')).doctorCommand(args, env),
  },
  status: {
    summary: 'do events flow, how late are they, and what is in the way',
    examples: [
      ['status', 'one look'],
      ['status --watch', 'again every two seconds'],
      ['status --watch 10 --json >> status.jsonl', 'a line of JSON every ten seconds'],
    ],
    run: async (args, env) => (await import('./status.ts')).statusCommand(args, env),
  },
  console: {
    summary: 'serve a web page on which to see the flow, find events, and retry what ClickHouse rejected',
    examples: [['console', 'on http://127.0.0.1:8090; with OUTBOX_CONSOLE_TOKEN set, also to retry and discard']],
    run: async (args, env) => (await import('./console.ts')).consoleCommand(args, env),
  },
  catalog: {
    summary: 'make a typed view in ClickHouse for each event type that the application defines',
    examples: [
      ['catalog src/events.ts', 'make the views, or bring them up to date'],
      ['catalog src/events.ts --json-schema > events.schema.json', 'what --check compares with: commit it'],
      ['catalog src/events.ts --check events.schema.json', 'in CI: does a change break the readers of a view'],
      ['catalog src/events.ts --markdown > docs/events.md', 'a page for people'],
    ],
    run: async (args, env) => (await import('./catalog.ts')).catalogCommand(args, env),
  },
  verify: {
    summary: 'prove that Postgres and ClickHouse hold the same events',
    examples: [
      ['verify', 'all that outbox.event still has'],
      ['verify --from 24h --json', 'the last day, as JSON'],
      ['verify --manifests --keys keys/', 'what was changed since it was recorded, years later as well'],
    ],
    run: async (args, env) => (await import('./verify.ts')).verifyCommand(args, env),
  },
  repair: {
    summary: 'deliver what Postgres has and ClickHouse lacks, after a lost slot or a gap',
    examples: [
      ['repair --dry-run', 'what would be done'],
      ['repair', 'do it; once more after an interruption'],
      ['repair --moved', 'the database is on another server now, and was not detached before'],
    ],
    run: async (args, env) => (await import('./repair.ts')).repairCommand(args, env),
  },
  reshard: {
    summary: 'deliver the outbox in another number of shares, while all runs',
    examples: [
      ['reshard 4', 'as the database’s owner with REPLICATION; then a streamer for each of OUTBOX_SHARD=1/4 to 4/4'],
      ['reshard 1', 'back to one slot'],
    ],
    run: async (args, env) => (await import('./reshard.ts')).reshardCommand(args, env),
  },
  detach: {
    summary:
      'deliver everything and drop the slot, before a major upgrade or a move of Postgres; `repair` goes on after it',
    examples: [['detach', 'once all streamers are stopped']],
    run: async (args, env) => (await import('./detach.ts')).detachCommand(args, env),
  },
  quarantine: {
    summary: 'list, retry or discard the events that ClickHouse rejects',
    examples: [
      ['quarantine list', 'which, and why'],
      ['quarantine retry --all', 'after the table was fixed'],
      ['quarantine discard 17 18', 'give two of them up; it asks before'],
    ],
    run: async (args, env) => (await import('./quarantine.ts')).quarantineCommand(args, env),
  },
  erase: {
    summary: 'remove somebody’s events from both databases for ever, and leave tombstones',
    examples: [
      ['erase --subject customer/7 --dry-run', 'count them'],
      [
        "erase --subject customer/7 --reason 'request 123'",
        'remove them; it asks before, and goes on after an interruption',
      ],
    ],
    run: async (args, env) => (await import('./erase.ts')).eraseCommand(args, env),
  },
  retention: {
    summary: 'remove delivered events that are older than OUTBOX_RETENTION_DAYS, which `run` does by itself',
    examples: [
      ['retention --dry-run', 'what would be removed'],
      ['retention', 'once, from a scheduler'],
    ],
    run: async (args, env) => (await import('./retention.ts')).retentionCommand(args, env),
  },
  config: {
    summary: 'print the effective configuration, without passwords',
    examples: [
      ['config', 'each setting, its value and where it comes from'],
      ['config --json', 'the same for a script'],
    ],
    run: async (args, env) => (await import('./config.ts')).configCommand(args, env),
  },
  healthcheck: {
    summary: 'ask the streamer of this host whether it is ready',
    examples: [['healthcheck', 'what the image’s HEALTHCHECK runs']],
    run: async (args, env) => (await import('./healthcheck.ts')).healthCommand(args, env),
  },
};

const PROGRAM = 'pg-outbox-clickhouse';
/** Help is as wide as most terminals are, also where there is none. */
const HELP_COLUMNS = 80;

/** What `--help` without a command prints. */
export function globalHelp(): string {
  const width = Math.max(...Object.keys(COMMANDS).map((name) => name.length));
  const list = Object.entries(COMMANDS).map(([name, { summary }]) => `  ${name.padEnd(width)}  ${summary}`);
  return fold(
    `Usage: ${PROGRAM} <command> [options]

Streams the events of a transactional outbox from Postgres to ClickHouse.

Commands
${list.join('\n')}

Options
  -h, --help     of a command: its options, exit codes and examples
  -V, --version  the version of this program

Configuration comes from the environment alone. Two settings must be given:
  DATABASE_URL     postgres://user:password@host:5432/database
  CLICKHOUSE_URL   http://user:password@host:8123/database
All settings: docs/configuration.md. Colours are for terminals: NO_COLOR
switches them off, FORCE_COLOR has them in a pipe too, and files never get any.

Exit codes
  0  done
  1  failed
  2  wrong usage or configuration
`,
    HELP_COLUMNS,
  );
}

/** What stands below each command's own help. */
export function examplesOf({ examples }: Command): string {
  // a command that is to be copied stays on its line
  const lines = examples.map(([args, purpose]) => `  ${PROGRAM} ${args}\n${fold(`      ${purpose}`, HELP_COLUMNS)}`);
  return `\nExamples\n${lines.join('\n')}\n`;
}
