import { randomUUID } from 'node:crypto';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { childrenOf } from './children.ts';
import { startPostgres, type EmbeddedPostgres } from './postgres.ts';
import { ODD, ORDINARY_UID, eventually, exists, finish, runScenario, running } from './testing.fixture.ts';

async function query(url: string, sql: string): Promise<unknown[][]> {
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => {});
  await client.connect();
  try {
    return (await client.query<unknown[]>({ text: sql, rowMode: 'array' })).rows;
  } finally {
    await client.end();
  }
}

/** A backend that is too busy to notice that its client is gone. SIGKILL must reach it, too. */
async function busyBackend(url: string): Promise<number> {
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => {});
  await client.connect();
  const { rows } = await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
  client.query('SELECT count(*) FROM generate_series(1, 1e12::int8)').catch(() => {});
  return rows[0]?.pid ?? 0;
}

describe('EmbeddedPostgres in a temporary directory', () => {
  let server: EmbeddedPostgres;
  beforeAll(async () => {
    server = await startPostgres({
      user: `o${ODD}`,
      password: ODD,
      database: 'd "b\'/é',
      settings: { work_mem: '5MB' },
    });
  });
  afterAll(() => server.dispose());

  test('has the user, the database and the settings asked for', async () => {
    expect(await query(server.url, 'SELECT current_user::text, current_database()::text')).toEqual([
      [`o${ODD}`, 'd "b\'/é'],
    ]);
    const names = ['wal_level', 'fsync', 'synchronous_commit', 'full_page_writes', 'password_encryption', 'work_mem'];
    const values = await Promise.all(names.map(async (name) => (await query(server.url, `SHOW ${name}`))[0]?.[0]));
    expect(values).toEqual(['logical', 'on', 'on', 'on', 'scram-sha-256', '5MB']);
    expect(await query(server.url, 'SHOW server_version')).toEqual([[expect.stringMatching(/^18\./)]]);
  });

  test('rejects a wrong password', async () => {
    const url = new URL(server.url);
    url.password = 'wrong';
    await expect(query(url.href, 'SELECT 1')).rejects.toMatchObject({ code: '28P01' });
  });

  test('lets ALTER SYSTEM override its settings', async () => {
    await query(server.url, "ALTER SYSTEM SET work_mem = '6MB'");
    await query(server.url, 'SELECT pg_reload_conf()');
    await eventually('it is reloaded', async () => (await query(server.url, 'SHOW work_mem'))[0]?.[0] !== '5MB');
    expect(await query(server.url, 'SHOW work_mem')).toEqual([['6MB']]);
  });

  test.for(['fast', 'smart', 'immediate'] as const)('keeps its data after stop(%s) and start', async (mode) => {
    await query(server.url, `CREATE TABLE stopped_${mode} AS SELECT 1 AS id`);
    const { pid } = server;
    await server.stop(mode);
    await server.stop(mode);
    expect(await running([pid])).toEqual([]);
    await expect(query(server.url, 'SELECT 1')).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    await Promise.all([server.start(), server.start()]);
    expect(await query(server.url, `SELECT id FROM stopped_${mode}`)).toEqual([[1]]);
  });

  test('keeps committed rows when it is killed and started, and leaves no process behind', async () => {
    await query(server.url, 'CREATE TABLE killed AS SELECT 1 AS id');
    const backend = await busyBackend(server.url);
    const processes = [server.pid, ...(await childrenOf(server.pid))];
    expect(processes).toContain(backend);
    await server.kill();
    expect(await running(processes)).toEqual([]);
    await server.start();
    expect(await query(server.url, 'SELECT id FROM killed')).toEqual([[1]]);
  });

  test('stops at once on a fast stop while a smart stop waits', async () => {
    const client = new pg.Client({ connectionString: server.url });
    client.on('error', () => {});
    await client.connect();
    const smart = server.stop('smart');
    await eventually('it shuts down', async () =>
      (await readFile(join(server.directory, 'data', 'postmaster.pid'), 'utf8')).includes('stopping'),
    );
    await server.stop('fast');
    await smart;
    await server.start();
    expect(await query(server.url, 'SELECT 1')).toEqual([[1]]);
  });

  test('shares neither port nor data with a second one', async () => {
    const other = await startPostgres();
    try {
      expect(other.port).not.toBe(server.port);
      expect(await query(other.url, "SELECT to_regclass('killed')")).toEqual([[null]]);
    } finally {
      await other.dispose();
    }
    expect(await exists(other.directory)).toBe(false);
    expect(await running([other.pid])).toEqual([]);
  });

  test('reports "Address already in use" when its port is taken', async () => {
    await expect(startPostgres({ port: server.port })).rejects.toMatchObject({
      code: 'OUTBOX_EMBEDDED_FAILED',
      problems: expect.arrayContaining([expect.stringContaining('Address already in use')]),
    });
  });
});

test('startPostgres makes a given directory, reuses it with its password, and dispose keeps it', async () => {
  const parent = join(tmpdir(), `embedded test ${randomUUID()}`);
  const directory = join(parent, 'postgres');
  try {
    const first = await startPostgres({ directory });
    await query(first.url, 'CREATE TABLE kept AS SELECT 1 AS id');
    await first.dispose();
    const second = await startPostgres({ directory, database: 'more' });
    expect(await query(second.url, 'SELECT current_database()::text')).toEqual([['more']]);
    expect(await query(second.url.replace(/more$/, 'postgres'), 'SELECT id FROM kept')).toEqual([[1]]);
    await second.dispose();
    await expect(startPostgres({ directory, password: 'another' })).rejects.toThrow('password authentication failed');
    expect(await exists(join(directory, 'data', 'PG_VERSION'))).toBe(true);
  } finally {
    await rm(parent, { recursive: true });
  }
});

test('startPostgres quotes Postgres’ log when Postgres rejects a setting', async () => {
  await expect(startPostgres({ settings: { wal_level: 'sometimes' } })).rejects.toMatchObject({
    code: 'OUTBOX_EMBEDDED_FAILED',
    problems: expect.arrayContaining([expect.stringContaining('invalid value for parameter "wal_level"')]),
  });
});

test.for([false, true])('EmbeddedPostgres dies when SIGKILL kills its parent (stopped: %s)', async (stopped) => {
  const scenario = await runScenario('postgres');
  const backend = await busyBackend(scenario.url);
  const processes = [scenario.pid, backend, ...(await childrenOf(scenario.pid))];
  if (stopped) process.kill(scenario.pid, 'SIGSTOP');
  scenario.child.kill('SIGKILL');
  await eventually('all processes are gone', async () => (await running(processes)).length === 0);
  await eventually('the directory is gone', async () => !(await exists(scenario.directory)));
  expect(await running(processes)).toEqual([]);
});

test('EmbeddedPostgres keeps a given directory when SIGKILL kills its parent', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'embedded-test-'));
  try {
    const scenario = await runScenario('postgres', undefined, directory);
    await query(scenario.url, 'CREATE TABLE kept AS SELECT 1 AS id');
    scenario.child.kill('SIGKILL');
    await eventually('it is gone', async () => (await running([scenario.pid])).length === 0);
    const again = await startPostgres({ directory });
    expect(await query(again.url, 'SELECT id FROM kept')).toEqual([[1]]);
    await again.dispose();
  } finally {
    await rm(directory, { recursive: true });
  }
});

test('startPostgres works for an ordinary user', async () => {
  const scenario = await runScenario('postgres', ORDINARY_UID);
  expect((await stat(join(scenario.directory, 'data'))).uid).toBe(ORDINARY_UID);
  expect(await query(scenario.url, 'SELECT 1')).toEqual([[1]]);
  expect(await finish(scenario)).toBe(0);
  expect(await exists(scenario.directory)).toBe(false);
});
