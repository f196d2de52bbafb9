import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { Client } from 'pg';
import { startClickHouse } from '../embedded/clickhouse.ts';
import { startPostgres } from '../embedded/postgres.ts';

const CLI = new URL(`../streamer/cli${import.meta.url.endsWith('.ts') ? '.ts' : '.js'}`, import.meta.url).pathname;
const ROLES = new URL('../../migrations/postgres/roles.sql', import.meta.url);
const PASSWORD = 'demo';

/** Real servers and a real streamer process, each with no more rights than it needs. */
export interface DemoServices extends AsyncDisposable {
  /** As the shop's role, which may only INSERT into the outbox. */
  readonly shopUrl: string;
  /** As a superuser, for those who want to look around. */
  readonly adminUrl: string;
  readonly clickhouseUrl: string;
  /** Asks the streamer to stop; resolves with its exit code. */
  stopStreamer(): Promise<number | null>;
}

export async function startServices(): Promise<DemoServices> {
  const [postgres, clickhouse] = await Promise.all([startPostgres(), startClickHouse()]);
  await runCli('migrate', postgres.url, clickhouse.url);
  await createRoles(postgres.url);
  const streamer = await startStreamer(as('outbox_streamer', postgres.url), clickhouse.url);
  return {
    shopUrl: as('shop', postgres.url),
    adminUrl: postgres.url,
    clickhouseUrl: clickhouse.url,
    stopStreamer: async () => stop(streamer),
    async [Symbol.asyncDispose]() {
      await stop(streamer);
      await Promise.all([postgres.dispose(), clickhouse.dispose()]);
    },
  };
}

async function runCli(command: string, databaseUrl: string, clickhouseUrl: string): Promise<void> {
  const child = spawnCli(command, databaseUrl, clickhouseUrl, ['ignore', 'ignore', 'inherit']);
  const [code] = (await once(child, 'exit')) as [number | null];
  if (code !== 0) throw new Error(`pg-outbox-clickhouse ${command} ended with ${code}`);
}

async function startStreamer(databaseUrl: string, clickhouseUrl: string): Promise<ChildProcess> {
  const child = spawnCli('run', databaseUrl, clickhouseUrl, ['ignore', 'pipe', 'inherit']);
  await new Promise<void>((resolve, reject) => {
    child.on('exit', (code) => reject(new Error(`the streamer ended with ${code}`)));
    createInterface(child.stdout!).on('line', (line) => {
      const { level, msg } = JSON.parse(line) as { level: string; msg: string };
      if (msg === 'attached') resolve();
      if (level === 'error' || level === 'warn') process.stderr.write(`${line}\n`);
    });
  });
  return child;
}

function spawnCli(
  command: string,
  databaseUrl: string,
  clickhouseUrl: string,
  stdio: ('ignore' | 'pipe' | 'inherit')[],
): ChildProcess {
  const env = { ...process.env, DATABASE_URL: databaseUrl, CLICKHOUSE_URL: clickhouseUrl, OUTBOX_HEALTH_PORT: '0' };
  return spawn(process.execPath, [CLI, command], { env, stdio });
}

async function stop(child: ChildProcess): Promise<number | null> {
  if (child.exitCode === null && child.signalCode === null) {
    child.kill('SIGTERM');
    await once(child, 'exit');
  }
  return child.exitCode;
}

async function createRoles(adminUrl: string): Promise<void> {
  const admin = new Client(adminUrl);
  await admin.connect();
  await admin.query(await readFile(ROLES, 'utf8'));
  await admin.query(`ALTER ROLE outbox_streamer PASSWORD '${PASSWORD}'`);
  await admin.query(`CREATE ROLE shop LOGIN PASSWORD '${PASSWORD}' IN ROLE outbox_producer`);
  await admin.query('CREATE TABLE orders (id uuid PRIMARY KEY, customer text NOT NULL, amount numeric NOT NULL)');
  await admin.query('GRANT SELECT, INSERT ON orders TO shop');
  await admin.end();
}

function as(user: string, url: string): string {
  return Object.assign(new URL(url), { username: user, password: PASSWORD }).href;
}
