import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ClickHouseLogLevel, createClient } from '@clickhouse/client';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startClickHouse, type EmbeddedClickHouse } from './clickhouse.ts';
import { ODD, ORDINARY_UID, eventually, exists, finish, runScenario, running } from './testing.fixture.ts';

async function query(url: string, sql: string, timeout = 30_000): Promise<unknown[]> {
  const client = createClient({ url, request_timeout: timeout, log: { level: ClickHouseLogLevel.OFF } });
  try {
    return await (
      await client.query({ query: sql, format: 'JSONCompactEachRow' })
    )
      .json<unknown[]>()
      .then((rows) => rows.flat());
  } finally {
    await client.close();
  }
}

async function command(url: string, sql: string): Promise<void> {
  const client = createClient({ url, log: { level: ClickHouseLogLevel.OFF } });
  try {
    await client.command({ query: sql });
  } finally {
    await client.close();
  }
}

function as(server: EmbeddedClickHouse, user: string, password: string): string {
  const url = new URL(server.url);
  url.username = user;
  url.password = password;
  return url.href;
}

async function createTable(url: string, name: string): Promise<void> {
  await command(url, `CREATE TABLE ${name} (id Int32) ENGINE = MergeTree ORDER BY id`);
  await command(url, `INSERT INTO ${name} VALUES (1)`);
}

describe('EmbeddedClickHouse in a temporary directory', () => {
  let server: EmbeddedClickHouse;
  beforeAll(async () => {
    server = await startClickHouse({
      user: 'jörg_1-x',
      password: ODD,
      database: 'events-1',
      settings: { max_block_size: 777 },
      users: [{ user: 'reader', password: 'r', grants: ['GRANT SELECT ON *.*'] }],
    });
  });
  afterAll(() => server.dispose());

  test('has the user, the database and the settings asked for', async () => {
    expect(await query(server.url, "SELECT currentUser(), currentDatabase(), getSetting('max_block_size')")).toEqual([
      'jörg_1-x',
      'events-1',
      expect.toSatisfy((value: unknown) => Number(value) === 777),
    ]);
    expect(await query(server.url, 'SELECT version()')).toEqual([expect.stringMatching(/^26\.7\./)]);
  });

  test('rejects a wrong password, and a statement that is not granted', async () => {
    await expect(query(as(server, 'jörg_1-x', 'wrong'), 'SELECT 1')).rejects.toMatchObject({ code: '516' });
    await createTable(server.url, 'granted');
    const reader = as(server, 'reader', 'r');
    expect(await query(reader, 'SELECT id FROM granted')).toEqual([1]);
    await expect(command(reader, 'INSERT INTO granted VALUES (2)')).rejects.toMatchObject({ code: '497' });
  });

  test('keeps its data when it is stopped and started', async () => {
    await createTable(server.url, 'stopped');
    const { pid } = server;
    await server.stop();
    await server.stop();
    expect(await running([pid])).toEqual([]);
    await expect(query(server.url, 'SELECT 1')).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    await Promise.all([server.start(), server.start()]);
    expect(await query(server.url, 'SELECT id FROM stopped')).toEqual([1]);
  });

  test('keeps acknowledged rows when it is killed and started', async () => {
    await createTable(server.url, 'killed');
    const { pid } = server;
    await server.kill();
    expect(await running([pid])).toEqual([]);
    await server.start();
    expect(await query(server.url, 'SELECT id FROM killed')).toEqual([1]);
  });

  test('does not answer while it is paused, and can be stopped all the same', async () => {
    server.pause();
    await expect(query(server.url, 'SELECT 1', 300)).rejects.toThrow(/timeout/i);
    server.resume();
    expect(await query(server.url, 'SELECT 1')).toEqual([1]);
    server.pause();
    await server.stop();
    await server.start();
    expect(await query(server.url, 'SELECT 1')).toEqual([1]);
  });

  test('shares neither port nor data with a second one', async () => {
    const other = await startClickHouse();
    try {
      expect(other.port).not.toBe(server.port);
      expect(await query(other.url, "SELECT count() FROM system.tables WHERE name = 'killed'")).toEqual([0]);
    } finally {
      await other.dispose();
    }
    expect(await exists(other.directory)).toBe(false);
    expect(await running([other.pid])).toEqual([]);
  });

  test('reports "Address already in use" when its port is taken', async () => {
    await expect(startClickHouse({ port: server.port })).rejects.toMatchObject({
      code: 'OUTBOX_EMBEDDED_FAILED',
      problems: expect.arrayContaining([expect.stringContaining('Address already in use')]),
    });
  });
});

test('startClickHouse creates a database with an odd name', async () => {
  const server = await startClickHouse({ database: ODD });
  try {
    expect(await query(`http://outbox:outbox@${server.host}:${server.port}/default`, 'SHOW DATABASES')).toContain(ODD);
  } finally {
    await server.dispose();
  }
});

test.for(['default', 'two words', 'a:b'])('startClickHouse rejects %j as a user name', async (user) => {
  await expect(startClickHouse({ user })).rejects.toMatchObject({ code: 'OUTBOX_EMBEDDED_FAILED' });
});

test('startClickHouse reuses a given directory unless it is in use, and dispose keeps it', async () => {
  const directory = await mkdtemp(join(tmpdir(), "embedded test '"));
  try {
    const first = await startClickHouse({ directory });
    await createTable(first.url, 'kept');
    await expect(startClickHouse({ directory })).rejects.toThrow('already running');
    await first.dispose();
    const second = await startClickHouse({ directory, password: ODD });
    expect(await query(second.url, 'SELECT id FROM kept')).toEqual([1]);
    await second.dispose();
    expect(await exists(join(directory, 'data'))).toBe(true);
  } finally {
    await rm(directory, { recursive: true });
  }
});

test.for([false, true])('EmbeddedClickHouse dies when SIGKILL kills its parent (paused: %s)', async (paused) => {
  const scenario = await runScenario('clickhouse');
  if (paused) process.kill(scenario.pid, 'SIGSTOP');
  scenario.child.kill('SIGKILL');
  await eventually('the process is gone', async () => (await running([scenario.pid])).length === 0);
  await eventually('the directory is gone', async () => !(await exists(scenario.directory)));
  expect(await running([scenario.pid])).toEqual([]);
});

test('startClickHouse works for an ordinary user', async () => {
  const scenario = await runScenario('clickhouse', ORDINARY_UID);
  expect((await stat(scenario.directory)).uid).toBe(ORDINARY_UID);
  expect(await query(scenario.url, 'SELECT 1')).toEqual([1]);
  expect(await finish(scenario)).toBe(0);
  expect(await exists(scenario.directory)).toBe(false);
});
