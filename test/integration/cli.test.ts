import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { COMMANDS } from '../../src/streamer/commands/table.ts';
import { SETTINGS } from '../../src/streamer/settings.ts';
import { command } from '../support/command.ts';

/** No test here reaches a database. */
const NOWHERE = {
  databaseUrl: 'postgres://someone:canary@127.0.0.1:9/none?sslmode=require&password=canary',
  clickhouseUrl: 'http://someone:canary@127.0.0.1:9/none',
  slot: 'nowhere',
};

async function cli(args: string[], environment: Record<string, string> = {}) {
  return command(NOWHERE, args, environment).done;
}

test('--help lists every command, and each command’s --help shows its usage, exit codes and examples', async () => {
  const general = await cli(['--help']);
  expect(general).toMatchObject({ code: 0, stderr: '' });
  const helps = await Promise.all(
    Object.keys(COMMANDS).map(async (name) => ({ name, ...(await cli([name, '--help'], { DATABASE_URL: '' })) })),
  );
  for (const { name, code, stdout, stderr } of helps) {
    expect(general.stdout).toMatch(new RegExp(`^  ${name} +\\S`, 'm'));
    expect({ name, code, stderr }).toEqual({ name, code: 0, stderr: '' });
    expect(stdout).toMatch(new RegExp(`^Usage: pg-outbox-clickhouse ${name}`));
    expect(stdout).toMatch(/\nExit codes\n {2}0 /);
    expect(stdout).toMatch(new RegExp(`\nExamples\n  pg-outbox-clickhouse ${name}`));
    const prose = `${general.stdout}${stdout}`
      .split('\n')
      .filter((line) => !line.startsWith('  pg-outbox-clickhouse '));
    expect(prose.filter((line) => line.length > 80)).toEqual([]);
  }
});

test('the CLI names wrong usage on stderr and exits with 2', async () => {
  const [none, typo, far, option, argument] = await Promise.all([
    cli([]),
    cli(['stauts']),
    cli(['constructor']),
    cli(['status', '--jason']),
    cli(['config', 'all']),
  ]);
  expect(none).toMatchObject({ code: 2, stdout: '', stderr: expect.stringContaining('Commands') });
  expect(typo).toMatchObject({ code: 2, stdout: '', stderr: expect.stringContaining('did you mean "status"?') });
  expect(far.code).toBe(2);
  expect(far.stderr).toMatch(/^There is no command "constructor"\n/);
  expect(option).toMatchObject({ code: 2, stderr: expect.stringContaining("'--jason'") });
  expect(argument).toMatchObject({ code: 2, stderr: expect.stringContaining('"all"') });
});

test('--version prints the version of the package', async () => {
  const { version } = JSON.parse(await readFile(new URL('../../package.json', import.meta.url), 'utf8')) as {
    version: string;
  };
  expect(await cli(['--version'])).toEqual({ code: 0, stdout: `${version}\n`, stderr: '' });
});

test('`config` prints every setting with its value and source, and hides secrets', async () => {
  const given = { OUTBOX_FLUSH_INTERVAL_MS: '250' };
  const [table, document] = await Promise.all([cli(['config'], given), cli(['config', '--json'], given)]);
  expect(document.code).toBe(0);
  const settings = JSON.parse(document.stdout) as Record<string, { value: unknown; from: string }>;
  const names = Object.entries(SETTINGS).flatMap(([name, { readBy }]) => (readBy === 'streamer' ? [name] : []));
  expect(Object.keys(settings)).toEqual(names);
  expect(settings).toMatchObject({
    DATABASE_URL: { value: 'postgres://someone@127.0.0.1:9/none?sslmode=require&password=***', from: 'environment' },
    OUTBOX_FLUSH_INTERVAL_MS: { value: 250, from: 'environment' },
    LOG_LEVEL: { value: 'info', from: 'default' },
  });
  for (const name of names) expect(table.stdout).toMatch(new RegExp(`^${name} +(environment|default) +\\S`, 'm'));
  for (const { stdout } of [table, document])
    for (const hidden of ['canary', '\u001B']) expect(stdout).not.toContain(hidden);
});

test('`config`, `doctor` and `status` report every configuration problem, on stderr and as JSON, and exit with 2', async () => {
  const wrong = { DATABASE_URL: '', OUTBOX_BATCH_MAX_ROWS: 'many', OUTBOX_SLOTT: 'canary' };
  for (const name of ['config', 'doctor', 'status']) {
    const { code, stdout, stderr } = await cli([name, '--json'], wrong);
    expect(code).toBe(2);
    const { error } = JSON.parse(stdout) as { error: { code: string; message: string } };
    expect(error.code).toBe('OUTBOX_CONFIG_INVALID');
    for (const said of [error.message, stderr]) {
      expect(said).toContain('DATABASE_URL is missing');
      expect(said).toContain('OUTBOX_BATCH_MAX_ROWS must be a whole number');
      expect(said).toContain('OUTBOX_SLOTT is unknown; the nearest name is OUTBOX_SLOT');
      expect(said).not.toContain('canary');
    }
  }
});
