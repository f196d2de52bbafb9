import { execFile } from 'node:child_process';
import { appendFile, mkdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { give, type Account } from './account.ts';
import { failed } from './log.ts';

const run = promisify(execFile);

/** Nothing of the caller's environment: PGDATA, PGPORT, PGOPTIONS or a locale would change the server. */
export const POSTGRES_ENV = { PATH: process.env['PATH'] ?? '/usr/bin:/bin', LC_ALL: 'C', TZ: 'UTC' };

const SETTINGS = {
  wal_level: 'logical',
  max_wal_senders: 20,
  max_replication_slots: 20,
  // TCP only: the path of a Unix socket is limited to about 100 bytes, less than some temporary directories have
  unix_socket_directories: '',
};

export interface Cluster {
  initdb: string;
  major: number;
  directory: string;
  data: string;
  account: Account | undefined;
  temporary: boolean;
}

async function exists(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined)) !== undefined;
}

/** Makes the data directory unless there is one. The bootstrap role is `postgres`, whatever user is asked for. */
export async function createCluster(cluster: Cluster, password: string): Promise<void> {
  const { directory, data, account, temporary } = cluster;
  if (await exists(join(data, 'PG_VERSION'))) return;
  // under another name until it is complete, so that a start that was cut short leaves nothing half-made to be started
  const unfinished = `${data}.unfinished`;
  const passwordFile = join(directory, 'password');
  await rm(unfinished, { recursive: true, force: true });
  await mkdir(unfinished, { mode: 0o700 });
  await give(unfinished, account);
  try {
    await writeFile(passwordFile, password, { mode: 0o600 });
    await give(passwordFile, account);
    await run(
      cluster.initdb,
      [
        `--pgdata=${unfinished}`,
        '--username=postgres',
        `--pwfile=${passwordFile}`,
        '--auth=scram-sha-256',
        '--encoding=UTF8',
        '--locale=C',
        ...(cluster.major >= 17 ? ['--locale-provider=builtin', '--builtin-locale=C.UTF-8'] : []),
        '--no-instructions',
        ...(temporary ? ['--no-sync'] : []),
      ],
      { cwd: directory, env: POSTGRES_ENV, ...account },
    );
  } catch (error) {
    const output = error instanceof Error && 'stderr' in error ? String(error.stderr).trim() : '';
    const who =
      account === undefined ? '' : ` as uid ${account.uid}, which must be able to reach the file and the directory`;
    throw failed(
      `${cluster.initdb} failed in ${directory}${who}:`,
      output === '' ? [String(error)] : output.split('\n'),
      error,
    );
  } finally {
    await rm(passwordFile, { force: true });
  }
  await appendFile(join(unfinished, 'postgresql.conf'), "\ninclude_if_exists = 'embedded.conf'\n");
  await rename(unfinished, data);
}

function line(name: string, value: string | number): string {
  if (!/^[a-z_]\w*(\.\w+)?$/i.test(name)) throw failed(`${JSON.stringify(name)} is not the name of a setting.`);
  const quoted = String(value).replaceAll('\\', '\\\\').replaceAll("'", "''").replaceAll('\n', '\\n');
  return `${name} = '${quoted}'\n`;
}

/** Writes the settings into a file of their own rather than on the command line, which ALTER SYSTEM could not override. */
export async function configureCluster(cluster: Cluster, settings: Record<string, string | number>): Promise<void> {
  const file = join(cluster.data, 'embedded.conf');
  const lines = Object.entries({ ...SETTINGS, ...settings }).map(([name, value]) => line(name, value));
  await writeFile(file, lines.join(''), { mode: 0o600 });
  await give(file, cluster.account);
}
