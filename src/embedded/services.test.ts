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

/** `dev` in a process of its own, which does not outlive a test that fails. */
class Dev implements AsyncDisposable {
  said = '';
  readonly child: ChildProcess;
  readonly #ended: Promise<unknown[]>;

  constructor(env: Record<string, string> = {}, ...args: string[]) {
    this.child = spawn(process.execPath, [PROGRAM, 'dev', ...args], {
      env: { PATH: process.env['PATH'] ?? '', ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#ended = once(this.child, 'exit');
    for (const output of [this.child.stdout, this.child.stderr])
      output?.on('data', (chunk: Buffer) => (this.said += chunk.toString()));
  }

  /** Resolves when it has said all that it says, or has ended. */
  async isReady(): Promise<void> {
    await eventually('events flow', () => this.said.includes('Ctrl-C ends it.\n') || this.child.exitCode !== null);
  }

  find(pattern: RegExp): string {
    return pattern.exec(this.said)?.[0] ?? '';
  }

  /** Ctrl-C; resolves to the exit code. */
  async interrupt(): Promise<unknown> {
    this.child.kill('SIGINT');
    return (await this.#ended)[0];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.child.exitCode === null) await this.interrupt();
  }
}

test('dev starts everything, and what it prints emits an event and shows it; Ctrl-C ends all of it', async () => {
  await using dev = new Dev();
  await dev.isReady();
  const databaseUrl = dev.find(/postgres:\S+/);
  const client = new Client(databaseUrl);
  client.on('error', () => {});
  await client.connect();
  await client.query(dev.find(/SELECT outbox\.emit.*/));
  await eventually('the event is there', async () => {
    const { stdout } = await promisify(exec)(`${dev.find(/^ +curl .*$/m)} --silent`);
    return /order\.placed[^]*"orderId": 7/.test(stdout);
  });
  await client.end();
  expect(await dev.interrupt()).toBe(0);
  await expect(new Client(databaseUrl).connect()).rejects.toMatchObject({ code: 'ECONNREFUSED' });
});

test('dev uses the servers whose URLs are set, shows no password of theirs, and leaves them as they are', async () => {
  await using services = await startServices({ streamer: false });
  await using dev = new Dev({ DATABASE_URL: services.postgres.url, CLICKHOUSE_URL: services.clickhouse.url });
  await dev.isReady();
  expect(dev.said).toContain('Using the Postgres of DATABASE_URL and the ClickHouse of CLICKHOUSE_URL.');
  expect(dev.said).toContain(`DATABASE_URL=${services.postgres.url.replace(':postgres@', ':…@')}`);
  expect(dev.said).toContain("SELECT pg_drop_replication_slot('outbox')");
  await insert(services, FIRST);
  await services.delivered();
  expect(await dev.interrupt()).toBe(0);
  expect(await delivered(services)).toEqual([FIRST]);
});
