import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { CHILD_ENVIRONMENT } from '../support/child-environment.ts';
import { onFreePort } from '../../src/embedded/ports.ts';
import { Outbox } from '../support/outbox.ts';
import { Scrape } from '../support/scrape.ts';

const CLI = new URL('../../src/streamer/commands/cli.ts', import.meta.url).pathname;

function environmentOf(outbox: Outbox): Record<string, string> {
  return {
    ...CHILD_ENVIRONMENT,
    DATABASE_URL: outbox.databaseUrl,
    CLICKHOUSE_URL: outbox.clickhouseUrl,
    OUTBOX_SLOT: outbox.slot,
  };
}

/** Runs a line of shell in which $CLI is the streamer's. */
async function shell(
  line: string,
  environment: Record<string, string>,
): Promise<{ code: number | null; stderr: string }> {
  const child = spawn('/bin/sh', ['-c', line], {
    env: { ...environment, NODE: process.execPath, CLI },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let stderr = '';
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, stderr };
}

test.concurrent('`quarantine list` writes all of 20,000 events to a pipe that is read slowly', async () => {
  await using outbox = await Outbox.create();
  await outbox.postgres.query(
    `INSERT INTO outbox.quarantine (slot_name, source, lsn, seq, event_id, event_type, event_date_time, environment,
                                    event_context, metadata_version, subject, committed_at, trace_id, span_id, recorded_at, recorded_by, reason)
     SELECT $1, 'x', '0/1', n, gen_random_uuid(), 'test', now(), '', '{}', 1, '', now(), '', '', now(), '', 'refused' FROM generate_series(1, 20000) n`,
    [outbox.slot],
  );
  const child = spawn(process.execPath, [CLI, 'quarantine', 'list', '--json'], { env: environmentOf(outbox) });
  const exit = once(child, 'exit');
  let json = '';
  for await (const chunk of child.stdout) {
    json += String(chunk);
    await sleep(2);
  }
  expect((await exit)[0]).toBe(0);
  expect(JSON.parse(json)).toHaveLength(20_000);
});

test.concurrent.for([
  'config',
  'status --json',
  'doctor --json',
  'quarantine list',
  'verify --json --wait 0',
  '--version',
  '--help',
  'config --help',
])('`%s` fails when its answer cannot be written', async (args) => {
  await using outbox = await Outbox.create();
  const { code, stderr } = await shell(`"$NODE" "$CLI" ${args} > /dev/full`, environmentOf(outbox));
  expect(stderr).toContain('OUTBOX_OUTPUT_FAILED');
  expect(stderr).toContain('ENOSPC');
  expect(code).toBe(1);
});

test.concurrent('a command whose reader has gone ends, without a word', async () => {
  await using outbox = await Outbox.create();
  const { stderr } = await shell('"$NODE" "$CLI" config | head -1', environmentOf(outbox));
  expect(stderr).toBe('');
});

test.concurrent('the streamer delivers, serves health and stops while its log cannot be written', async () => {
  await using outbox = await Outbox.create();
  const port = await onFreePort(0, async (free) => free);
  const full = openSync('/dev/full', 'w');
  const child = spawn(process.execPath, [CLI, 'run'], {
    env: { ...environmentOf(outbox), OUTBOX_HEALTH_PORT: String(port), LOG_LEVEL: 'debug' },
    stdio: ['ignore', full, 'inherit'],
  });
  closeSync(full);
  const exit = once(child, 'exit');
  await outbox.fill(10);
  await outbox.untilDelivered(10);
  expect((await Scrape.of(port)).value('outbox_log_dropped_total')).toBeGreaterThan(0);
  expect((await fetch(`http://127.0.0.1:${port}/livez`)).status).toBe(200);
  child.kill('SIGTERM');
  expect((await exit)[0]).toBe(0);
});
