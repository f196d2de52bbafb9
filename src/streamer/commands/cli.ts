#!/usr/bin/env node
import { OutboxError, saidFor } from '../../errors.ts';
import { nearest, TYPO_SHARE } from '../../nearest.ts';
import { DEFAULT_SCHEMA, SCHEMA_PATTERN } from '../../schema-name.ts';
import { nodeFault } from './node-version.ts';
import { VERSION } from '../version.ts';
import { Output } from './output.ts';
import { say } from './terminal.ts';
import { COMMANDS, examplesOf, globalHelp, type Command } from './table.ts';

const HELP = ['-h', '--help', 'help'];
const ASKS_VERSION = ['-V', '--version'];

async function runCommand(args: string[]): Promise<number> {
  const [name = '', ...rest] = args;
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (command !== undefined) return isAskedForHelp(rest) ? help(command) : command.run(rest, process.env);
  if (HELP.includes(name)) {
    say(globalHelp());
    return 0;
  }
  if (ASKS_VERSION.includes(name)) {
    process.stdout.write(`${VERSION}\n`);
    return 0;
  }
  say(name === '' ? globalHelp() : unknown(name), process.stderr);
  return 2;
}

function isAskedForHelp(args: string[]): boolean {
  return args.some((arg) => arg === '-h' || arg === '--help');
}

async function help(command: Command): Promise<number> {
  const code = await command.run(['--help'], {});
  process.stdout.write(examplesOf(command));
  return code;
}

function unknown(name: string): string {
  const meant = nearest(name, Object.keys(COMMANDS), TYPO_SHARE)?.name;
  const hint = meant === undefined ? '' : `, did you mean "${meant}"?`;
  return `There is no command ${JSON.stringify(name)}${hint}\n\npg-outbox-clickhouse --help lists them all.\n`;
}

const argv = process.argv.slice(2);
const output = new Output();
try {
  const fault = nodeFault(process.versions.node);
  if (fault !== undefined) throw new OutboxError('OUTBOX_NODE_VERSION', { detail: fault });
  // a stop that takes too long must not wait for open connections
  await output.exit(await runCommand(argv));
} catch (error) {
  if (!(error instanceof OutboxError)) throw error;
  const { code } = error;
  const { OUTBOX_SCHEMA: schema = '' } = process.env;
  // one that is none is refused, and never told
  const { message, next } = saidFor(SCHEMA_PATTERN.test(schema) ? schema : DEFAULT_SCHEMA, error);
  if (argv.includes('--json')) process.stdout.write(`${JSON.stringify({ error: { code, message, next } }, null, 2)}\n`);
  say(`${code}: ${message}\n\nNext: ${next}\n`, process.stderr);
  await output.exit(code === 'OUTBOX_CONFIG_INVALID' || code === 'OUTBOX_NODE_VERSION' ? 2 : 1);
}
