import { exec, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { createClient } from '@clickhouse/client';
import { Client } from 'pg';
import { expect, test } from 'vitest';
import { childrenOf } from './children.ts';
import { startServices, type Services } from './services.ts';
import { eventually, exists, runScenario, running } from './testing.fixture.ts';

async function insert({ postgres }: Services, id: string): Promise<void> {
  const client = new Client(postgres.url);
  await client.connect();
  await client.query("INSERT INTO outbox.event (event_id, event_type, event_context) VALUES ($1, 'a', '{}')", [id]);
  await client.end();
}

async function delivered({ clickhouse }: Services): Promise<string[]> {
  const client = createClient({ url: clickhouse.url });
  const query = 'SELECT event_id FROM events ORDER BY lsn';
  const rows = await (await client.query({ query, format: 'JSONEachRow' })).json<{ event_id: string }>();
  await client.close();
  return rows.map(({ event_id }) => event_id);
}

const [FIRST, SECOND] = ['00000000-0000-4000-8000-000000000001', '00000000-0000-4000-8000-000000000002'] as const;

test('startServices lets a test start, kill and restart the streamer, and delivered waits for committed events', async () => {
  const services = await startServices({ streamer: false });
  try {
    const { streamer } = services;
    expect(streamer.pid).toBe(0);
    await services.delivered();
    await insert(services, FIRST);
    await streamer.start();
    await services.delivered();
    expect(await delivered(services)).toEqual([FIRST]);
    await streamer.kill();
    await insert(services, SECOND);
    await streamer.start();
    await services.delivered();
    expect(await delivered(services)).toEqual([FIRST, SECOND]);
    await streamer.stop();
    await streamer.stop();
    expect(await running([streamer.pid])).toEqual([]);
  } finally {
    await services.dispose();
  }
  expect(await running([services.postgres.pid, services.clickhouse.pid])).toEqual([]);
  expect(await exists(services.streamer.log)).toBe(false);
});

test('startServices quotes a migration that fails, and leaves no process behind', async () => {
  const before = await childrenOf(process.pid);
  await expect(startServices({ streamer: { OUTBOX_SLOTS: 'x' } })).rejects.toMatchObject({
    code: 'OUTBOX_EMBEDDED_FAILED',
    problems: expect.arrayContaining([expect.stringContaining('OUTBOX_SLOTS is unknown')]),
  });
  expect(await childrenOf(process.pid)).toEqual(before);
});

test('the embedded streamer dies when SIGKILL kills its parent, and its directory is removed', async () => {
  const { child, pid, directory } = await runScenario('streamer');
  child.kill('SIGKILL');
  await eventually('the process is gone', async () => (await running([pid])).length === 0);
  await eventually('the directory is gone', async () => !(await exists(directory)));
  expect(await running([pid])).toEqual([]);
});

const PROGRAM = join(import.meta.dirname, 'program.ts');

/** `dev`, once it has said all that it says, and what it said. */
async function startDev(env: Record<string, string> = {}): Promise<{ child: ChildProcess; said: string }> {
  const child = spawn(process.execPath, [PROGRAM, 'dev'], {
    env: { PATH: process.env['PATH'] ?? '', ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let said = '';
  child.stdout.on('data', (chunk: Buffer) => (said += chunk.toString()));
  await eventually('events flow', () => said.includes('Ctrl-C ends it.\n') || child.exitCode !== null);
  return { child, said };
}

test('dev starts everything, and what it prints emits an event and shows it; Ctrl-C ends all of it', async () => {
  const { child, said } = await startDev();
  const [databaseUrl = ''] = /postgres:\S+/.exec(said) ?? [];
  const client = new Client(databaseUrl);
  client.on('error', () => {});
  await client.connect();
  await client.query(/SELECT outbox\.emit.*/.exec(said)?.[0] ?? '');
  const [curl = ''] = /^ +curl .*$/m.exec(said) ?? [];
  await eventually('the event is there', async () => {
    const { stdout } = await promisify(exec)(`${curl} --silent`);
    return stdout.includes('order.placed') && stdout.includes('{"orderId":7}');
  });
  await client.end();
  const ended = once(child, 'exit');
  child.kill('SIGINT');
  expect(await ended).toEqual([0, null]);
  await expect(new Client(databaseUrl).connect()).rejects.toMatchObject({ code: 'ECONNREFUSED' });
});

test('dev uses the servers whose URLs are set, shows no password of theirs, and leaves them as they are', async () => {
  await using services = await startServices({ streamer: false });
  const { child, said } = await startDev({
    DATABASE_URL: services.postgres.url,
    CLICKHOUSE_URL: services.clickhouse.url,
  });
  expect(said).toContain(`DATABASE_URL=${services.postgres.url.replace(':postgres@', ':…@')}`);
  expect(said).toContain("SELECT pg_drop_replication_slot('outbox')");
  await insert(services, FIRST);
  await services.delivered();
  const ended = once(child, 'exit');
  child.kill('SIGINT');
  expect(await ended).toEqual([0, null]);
  expect(await delivered(services)).toEqual([FIRST]);
});
