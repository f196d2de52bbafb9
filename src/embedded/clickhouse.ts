import { readFile, rm } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { writeConfiguration, type ClickHouseUser } from './clickhouse-config.ts';
import { Guard } from './guard.ts';
import { Lifecycle } from './lifecycle.ts';
import { resolvePackage } from './packages.ts';
import { requirePlatform, unsupported } from './platform.ts';
import { onFreePort } from './ports.ts';
import { HOST, connectionUrl, fetchUrl } from './url.ts';

export interface EmbeddedClickHouseOptions {
  /** Keeps its contents, and is never removed. Otherwise a temporary directory, removed by dispose(). */
  directory?: string;
  /** HTTP port on 127.0.0.1. Otherwise a free one. */
  port?: number;
  /** Letters, digits, _ and - only, and not `default`. May do everything. */
  user?: string;
  password?: string;
  /** Made when it does not exist. */
  database?: string;
  /** Of the default profile, which every user has. */
  settings?: Record<string, string | number>;
  /** Further users, for this engine has no CREATE USER. */
  users?: readonly ClickHouseUser[];
}

export interface EmbeddedClickHouse extends AsyncDisposable {
  /** http://user:password@127.0.0.1:port/database, every part percent-encoded. */
  readonly url: string;
  /** The same with user, password and database as parameters, as `fetch` and `curl` take it: POST a query to it. */
  readonly fetchUrl: string;
  readonly host: string;
  readonly port: number;
  readonly directory: string;
  /** The server, or the last one when none runs. */
  readonly pid: number;
  /** SIGTERM; the data stays, also in a temporary directory. Idempotent. Throws OUTBOX_EMBEDDED_FAILED after 60 s. */
  stop(): Promise<void>;
  /** SIGKILL; the process is gone when it resolves. */
  kill(): Promise<void>;
  /** On the same directory and port. Throws OUTBOX_EMBEDDED_FAILED, after 60 s at most. */
  start(): Promise<void>;
  /** SIGSTOP: connections are accepted by the kernel, and nothing is answered until resume(). */
  pause(): void;
  resume(): void;
  /** Ends the server and removes a temporary directory. The death of this process, however it comes, does the same. */
  dispose(): Promise<void>;
}

async function findLibrary(): Promise<string> {
  requirePlatform('ClickHouse');
  resolvePackage('ffi-rs');
  resolvePackage('chdb/libchdb');
  try {
    const { libchdbPath } = await import('chdb/libchdb');
    return libchdbPath();
  } catch (error) {
    throw unsupported('ClickHouse', 'the library of the package chdb is not installed', error);
  }
}

function quote(value: string, mark: '`' | "'"): string {
  return mark + value.replaceAll('\\', '\\\\').replaceAll(mark, `\\${mark}`) + mark;
}

function environment(): Record<string, string> {
  // what tools put into NODE_OPTIONS for this process (loaders, coverage, tracing) is not meant for a server
  const entries = Object.entries(process.env).filter(([name]) => name !== 'NODE_OPTIONS');
  return Object.fromEntries(entries.flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])));
}

interface Engine {
  library: string;
  guard: Guard;
  config: string;
  database: string;
}

function serverOf({ library, guard, config, database }: Engine, port: number): Lifecycle {
  const { directory } = guard;
  const readyFile = join(directory, 'ready');
  const queries = [
    `CREATE DATABASE IF NOT EXISTS ${quote(database, '`')}`,
    'SYSTEM START LISTEN HTTP',
    // standard output is not flushed while the last query waits
    `SELECT 1 INTO OUTFILE ${quote(readyFile, "'")} TRUNCATE FORMAT TSV`,
    // the end of stdin ends this query, and with it the server
    "SELECT count() FROM file('-', 'LineAsString', 'line String') FORMAT Null",
  ];
  return new Lifecycle(guard, {
    name: 'ClickHouse',
    command: {
      file: process.execPath,
      args: [
        join(import.meta.dirname, `clickhouse-server${extname(import.meta.filename)}`),
        library,
        `--path=${join(directory, 'data')}`,
        `--config-file=${config}`,
        `--listen_host=${HOST}`,
        `--http_port=${port}`,
        '--log-level=warning',
        `--logger.log=${join(directory, 'clickhouse.log')}`,
        `--query=${queries.join('; ')}`,
      ],
      directory,
      log: join(directory, 'clickhouse.log'),
      env: environment(),
      account: undefined,
    },
    prepare: () => rm(readyFile, { force: true }),
    ready: async () => (await readFile(readyFile, 'utf8').catch(() => '')) === '1\n',
  });
}

/**
 * Starts a real ClickHouse 26.7 HTTP server on 127.0.0.1, in 0.1 to 0.5 s. It dies with this process. Beside the given
 * user there is the engine's own `default`, without a password, which this host alone may use.
 *
 * Throws OUTBOX_EMBEDDED_PLATFORM where there is no library for this platform, OUTBOX_EMBEDDED_MISSING where a package is not
 * installed, OUTBOX_EMBEDDED_FAILED with the end of the server's log when it does not start.
 */
export async function startClickHouse(options: EmbeddedClickHouseOptions = {}): Promise<EmbeddedClickHouse> {
  const { user = 'outbox', password = 'outbox', database = 'default', settings = {}, users = [] } = options;
  const library = await findLibrary();
  const guard = await Guard.open('clickhouse', options.directory, 'KILL');
  try {
    const config = await writeConfiguration(guard.directory, [{ user, password }, ...users], settings);
    const { server, port } = await onFreePort(options.port ?? 0, async (candidate) => {
      const lifecycle = serverOf({ library, guard, config, database }, candidate);
      await lifecycle.start();
      return { server: lifecycle, port: candidate };
    });
    return handleOf(server, guard, port, connectionUrl('http', port, { user, password, database }));
  } catch (error) {
    await guard.release();
    throw error;
  }
}

function handleOf(server: Lifecycle, guard: Guard, port: number, url: string): EmbeddedClickHouse {
  const dispose = async (): Promise<void> => {
    try {
      await server.stop('SIGTERM');
    } finally {
      await guard.release();
    }
  };
  return {
    url,
    fetchUrl: fetchUrl(url),
    host: HOST,
    port,
    directory: guard.directory,
    get pid() {
      return server.pid;
    },
    stop: () => server.stop('SIGTERM'),
    kill: () => server.kill(),
    start: () => server.start(),
    pause: () => server.signal('SIGSTOP'),
    resume: () => server.signal('SIGCONT'),
    dispose,
    [Symbol.asyncDispose]: dispose,
  };
}
