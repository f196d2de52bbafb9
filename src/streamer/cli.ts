#!/usr/bin/env node
import { parseArgs } from 'node:util';
import { OutboxError } from '../errors.ts';
import { readConfig, redact } from './config.ts';
import { main } from './main.ts';
import { askHealth } from './operations/health.ts';
import { startTelemetry } from './operations/telemetry.ts';

const COMMANDS = ['run', 'migrate', 'healthcheck', 'config'];

const HELP = `Usage: pg-outbox-clickhouse <command>

Streams the events of a transactional outbox from Postgres to ClickHouse.

Commands
  run       stream until SIGTERM or SIGINT
  migrate   bring both databases to the newest schema, and make the slot
  healthcheck
            ask the streamer of this host whether it streams or stands by; exit code 1 if not
  quarantine
            list, retry or discard the events that ClickHouse refuses; quarantine --help
  repair    deliver what Postgres has and ClickHouse lacks, after a lost slot or a gap; repair --help
  verify    prove that Postgres and ClickHouse hold the same events; verify --help
  config    print the effective configuration, without passwords

Configuration comes from the environment alone; the two that must be given are
  DATABASE_URL     postgres://user:password@host:5432/database
  CLICKHOUSE_URL   http://user:password@host:8123/database
All of it: docs/configuration.md

Exit codes
  0 done   1 failed   2 wrong usage or configuration
`;

async function runCommand(args: string[]): Promise<number> {
  if (args[0] === 'quarantine') {
    const { quarantineCommand } = await import('./operations/quarantine.ts');
    return quarantineCommand(args.slice(1), process.env);
  }
  if (args[0] === 'repair') {
    const { repairCommand } = await import('./operations/repair.ts');
    return repairCommand(args.slice(1), process.env);
  }
  if (args[0] === 'verify') {
    const { verifyCommand } = await import('./operations/verify.ts');
    return verifyCommand(args.slice(1), process.env);
  }
  const { command, help } = parse(args);
  if (help) {
    process.stdout.write(HELP);
    return 0;
  }
  if (command === undefined || !COMMANDS.includes(command)) {
    process.stderr.write(HELP);
    return 2;
  }
  const config = readConfig(process.env);
  if (command === 'run') {
    const telemetry = await startTelemetry(process.env);
    try {
      return await main(config);
    } finally {
      await telemetry.stop();
    }
  }
  if (command === 'healthcheck') {
    const readiness = await askHealth(config.healthPort);
    process.stdout.write(
      `${readiness === undefined ? `no answer on port ${config.healthPort}` : JSON.stringify(readiness)}\n`,
    );
    return readiness?.ready === true ? 0 : 1;
  }
  if (command === 'config') {
    process.stdout.write(`${JSON.stringify(redact(config), null, 2)}\n`);
    return 0;
  }
  // what only a migration needs is a quarter of a gigabyte in memory
  const { migrateClickHouse, migratePostgres } = await import('./operations/migrate.ts');
  const report = (line: string): void => void process.stdout.write(`${line}\n`);
  await migratePostgres(config.databaseUrl, config.slot, report, config.slotFailover === 'on');
  await migrateClickHouse(config.clickhouseUrl, config.clickhouseTable, report);
  return 0;
}

function parse(args: string[]): { command: string | undefined; help: boolean } {
  try {
    const { values, positionals } = parseArgs({
      args,
      allowPositionals: true,
      options: { help: { type: 'boolean', short: 'h', default: false } },
    });
    return { command: positionals.length === 1 ? positionals[0] : undefined, help: values.help };
  } catch {
    return { command: undefined, help: false };
  }
}

try {
  // a second signal, or a stop that takes too long, must not wait for open connections
  process.exit(await runCommand(process.argv.slice(2)));
} catch (error) {
  if (!(error instanceof OutboxError)) throw error;
  process.stderr.write(`${error.code}: ${error.message}\n\nNext: ${error.next}\n`);
  process.exit(error.code === 'OUTBOX_CONFIG_INVALID' ? 2 : 1);
}
