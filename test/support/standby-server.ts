import { execFile } from 'node:child_process';
import { appendFile, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Client } from 'pg';
import { give, unprivilegedAccount } from '../../src/embedded/account.ts';
import { startPostgres, type EmbeddedPostgres } from '../../src/embedded/postgres.ts';

const run = promisify(execFile);

/** What a base backup leaves out, as pg_basebackup does; `pg_wal` is added afterwards where it is wanted. */
const LEFT_OUT = new Set(['pg_wal', 'pg_replslot', 'postmaster.pid', 'postmaster.opts', 'pg_stat_tmp']);
/** The standby's name on its primary: its physical slot and its application_name. */
export const STANDBY = 'standby';

type Settings = Record<string, string | number>;

export interface CopyOptions {
  /** postgresql.conf, see startPostgres; the primary's is not taken over. */
  readonly settings?: Settings;
  /** Which kind of recovery the copy begins with. */
  readonly signal?: 'standby.signal' | 'recovery.signal';
  /** Copies WAL too, so that the copy needs nobody to start. */
  readonly withWal?: boolean;
}

/** One statement on a connection of its own. */
export async function ask<Row>(url: string, text: string, values: unknown[] = []): Promise<Row[]> {
  const client = new Client(url);
  client.on('error', () => undefined);
  await client.connect();
  try {
    return (await client.query(text, values)).rows as Row[];
  } finally {
    await client.end();
  }
}

/** Copies files that a running server uses: one that vanishes meanwhile is not needed, as Postgres' manual says. */
async function copyLive(paths: string[]): Promise<void> {
  try {
    await run('cp', ['-a', ...paths], { env: { ...process.env, LC_ALL: 'C' } });
  } catch (error) {
    const { stderr } = error as { stderr?: string };
    const lines = stderr?.trim().split('\n') ?? [];
    if (lines.length === 0 || !lines.every((line) => line.endsWith('No such file or directory'))) throw error;
  }
}

/**
 * Starts a server on a base backup of another, which goes on meanwhile: the low-level backup of Postgres' manual, without
 * replication slots, as every base backup. Its directory goes with it.
 */
export async function startCopy(primary: EmbeddedPostgres, options: CopyOptions = {}): Promise<EmbeddedPostgres> {
  const { settings = {}, signal, withWal = false } = options;
  const directory = await mkdtemp(join(tmpdir(), 'outbox-copy-'));
  const from = join(primary.directory, 'data');
  const to = join(directory, 'data');
  const account = await unprivilegedAccount(from);
  const put = async (name: string, content: string): Promise<void> => {
    await writeFile(join(to, name), content, { mode: 0o600 });
    await give(join(to, name), account);
  };
  await mkdir(to, { mode: 0o700 });
  await give(to, account);
  const client = new Client(primary.url);
  await client.connect();
  try {
    await client.query("SELECT pg_backup_start('test', fast => true)");
    const names = (await readdir(from)).filter((name) => !LEFT_OUT.has(name));
    await copyLive([...names.map((name) => join(from, name)), to]);
    const { rows } = await client.query<{ labelfile: string }>(
      'SELECT labelfile FROM pg_backup_stop(wait_for_archive => false)',
    );
    await put('backup_label', rows[0]!.labelfile);
  } finally {
    await client.end();
  }
  for (const name of ['pg_wal', 'pg_wal/archive_status', 'pg_wal/summaries', 'pg_replslot', 'pg_stat_tmp']) {
    await mkdir(join(to, name), { mode: 0o700 });
    await give(join(to, name), account);
  }
  if (withWal) await copyLive([`${join(from, 'pg_wal')}/.`, join(to, 'pg_wal')]);
  if (signal !== undefined) await put(signal, '');
  const server = await startPostgres({ directory, settings });
  const end = server.dispose.bind(server);
  const dispose = async (): Promise<void> => {
    await end();
    await rm(directory, { recursive: true, force: true });
  };
  // a copy by spreading would freeze `pid`
  return Object.defineProperties(server, { dispose: { value: dispose }, [Symbol.asyncDispose]: { value: dispose } });
}

/**
 * Starts a hot standby that streams from `primary`, by way of `through` (a proxy's URL) where that is given, and
 * synchronises its failover slots.
 */
export async function startStandby(primary: EmbeddedPostgres, through = primary.url): Promise<EmbeddedPostgres> {
  const { hostname, port, username, password } = new URL(through);
  // reserved from now on, so that the WAL which the backup needs is there when it asks
  await ask(primary.url, 'SELECT pg_create_physical_replication_slot($1, true)', [STANDBY]);
  return startCopy(primary, {
    signal: 'standby.signal',
    settings: {
      primary_conninfo: `host=${hostname} port=${port} user=${username} password=${password} dbname=postgres application_name=${STANDBY}`,
      primary_slot_name: STANDBY,
      hot_standby_feedback: 'on',
      sync_replication_slots: 'on',
      wal_receiver_status_interval: '1s',
    },
  });
}

/** Makes a standby the primary; resolves when it takes writes. */
export async function promote(standby: EmbeddedPostgres): Promise<void> {
  const [answer] = await ask<{ promoted: boolean }>(standby.url, 'SELECT pg_promote(true, 60) AS promoted');
  if (answer?.promoted !== true) throw new Error('the standby was not promoted within 60 s');
}

export interface DiskSnapshot {
  /** Makes the stopped server what it was when the copy was made. */
  readonly putBack: () => Promise<void>;
  /** Lets the next start recover further, from archived WAL up to an LSN, and begin a timeline there. */
  readonly recoverTo: (lsn: string, restoreCommand: string) => Promise<void>;
}

/** Copies a stopped server's disk, slots and all. */
export async function diskSnapshot(server: EmbeddedPostgres): Promise<DiskSnapshot> {
  const data = join(server.directory, 'data');
  const copy = join(server.directory, 'snapshot');
  await run('cp', ['-a', data, copy]);
  return {
    putBack: async () => {
      await rm(data, { recursive: true });
      await run('cp', ['-a', copy, data]);
    },
    recoverTo: async (lsn, restoreCommand) => {
      await appendFile(
        join(data, 'postgresql.auto.conf'),
        `restore_command = '${restoreCommand}'\nrecovery_target_lsn = '${lsn}'\nrecovery_target_action = 'promote'\n`,
      );
      await writeFile(join(data, 'recovery.signal'), '');
      await give(join(data, 'recovery.signal'), await unprivilegedAccount(data));
    },
  };
}
