import type { EventEmitter } from 'node:events';
import { Socket } from 'node:net';
import pg from 'pg';
import { OutboxError } from '../../errors.ts';
import { inSchema } from '../../schema-name.ts';
import { isLoopback } from '../loopback.ts';
import { accessOf, type DatabaseAccess } from './access.ts';
import { connectToFirst, databaseUrlOf, type Host } from './hosts.ts';
import { guardLogin } from './login.ts';
import { passwordOf } from './password-command.ts';
import { loginError, postgresError, unreachable } from './postgres-error.ts';
import { applicationNameOf } from './streamer-connection.ts';
import { connectTimeoutMs, OURS, SECURED, securityOf, wantsPrimary, type Security } from './parameters.ts';

/** No statement of the streamer takes long. One that does has lost its connection without a word. */
const QUERY_TIMEOUT_MS = 10_000;
const END_TIMEOUT_MS = 1000;
/** A function that somebody made in another schema is never called instead of Postgres' own (CVE-2018-1058). */
export const SEARCH_PATH = 'pg_catalog,pg_temp';
/** A statement on whose values others' constraints, indexes and defaults work. */
const OVER_EVENTS = /\boutbox\.(?:event|quarantine)/;
/** What every session is pinned to, whatever the URL, the role or the database says. */
const PINNED = {
  search_path: SEARCH_PATH,
  // a host whose disk is nearly full makes transactions read-only, and the ledger has to be written to free WAL
  default_transaction_read_only: 'off',
  default_transaction_isolation: 'read committed',
  default_transaction_deferrable: 'off',
  // rows that a policy hides are an error, not a shorter answer
  row_security: 'off',
  // the driver reads no other dates, and the text of a value is compared
  DateStyle: 'ISO',
  IntervalStyle: 'postgres',
  TimeZone: 'UTC',
  extra_float_digits: '1',
  bytea_output: 'hex',
  standard_conforming_strings: 'on',
  quote_all_identifiers: 'off',
  transform_null_equals: 'off',
  // what waits says for whom, and ends by a time of its own
  lock_timeout: '0',
  statement_timeout: '0',
  idle_in_transaction_session_timeout: '0',
  // the ledger is silent for as long as there are no events
  idle_session_timeout: '0',
};
/** An older server would refuse a session that asks for it. */
const HAS_TRANSACTION_TIMEOUT = 17;

export interface ConnectOptions {
  /** Run-time parameters of the session, such as `synchronous_commit`. */
  readonly parameters?: Readonly<Record<string, string>>;
  /** A connection that speaks the replication protocol. */
  readonly replication?: boolean;
  /** Makes the socket to use, not yet connected: one for each host that is tried. */
  readonly socket?: () => Socket;
  /** ms; 0 for statements that may take long. */
  readonly queryTimeoutMs?: number;
}

/**
 * Opens a connection to the first host of the URL that fits, and returns the driver's client. Its loss is told through `onLost`, once.
 * At bytes that are not Postgres' protocol the driver's parser throws where nobody can catch it: the process ends, and its supervisor
 * starts it again. Throws OUTBOX_PG_UNREACHABLE, OUTBOX_PG_STANDBY, OUTBOX_PG_AUTH, OUTBOX_PG_PASSWORD_COMMAND, OUTBOX_PG_POOLER and
 * what else `postgresError` makes of the server's answer.
 */
export async function connectClient(
  access: string | DatabaseAccess,
  options: ConnectOptions,
  onLost: (error: OutboxError) => void,
): Promise<pg.Client> {
  const { databaseUrl, databasePasswordCommand: passwordCommand, schema } = accessOf(access);
  const { hosts, url: common } = databaseUrlOf(databaseUrl);
  const wanted = {
    ...options,
    passwordCommand,
    schema,
    mustBePrimary: wantsPrimary(common.searchParams, hosts.length),
  };
  return connectToFirst(hosts, async (host) => connectTo(host, new URL(common), wanted, onLost));
}

async function connectTo(
  host: Host,
  target: URL,
  options: ConnectOptions & {
    readonly mustBePrimary: boolean;
    readonly passwordCommand: string;
    readonly schema: string;
  },
  onLost: (error: OutboxError) => void,
): Promise<pg.Client> {
  const { parameters = {}, replication = false, socket, queryTimeoutMs = QUERY_TIMEOUT_MS } = options;
  const { mustBePrimary, passwordCommand, schema } = options;
  // of two that set the same, the later one counts
  const ownOptions = target.searchParams.get('options') ?? '';
  const security = secured(target.searchParams);
  const channelBinding = target.searchParams.get('channel_binding');
  const timeoutMs = connectTimeoutMs(target.searchParams);
  const isDirect = security.ssl !== false && target.searchParams.get('sslnegotiation') === 'direct';
  // the driver lets parameters of the URL win over its configuration
  for (const name of [...OURS, ...SECURED]) target.searchParams.delete(name);
  target.searchParams.set('host', host.name);
  if (host.port === '') target.searchParams.delete('port');
  else target.searchParams.set('port', host.port);
  const config: pg.ClientConfig & {
    replication?: string;
    enableChannelBinding?: boolean;
    sslnegotiation?: 'direct' | 'postgres';
  } = {
    connectionString: target.href,
    application_name: applicationNameOf(schema),
    // a command has a limit of its own
    connectionTimeoutMillis: passwordCommand === '' ? timeoutMs : 2 * timeoutMs,
    keepAlive: true,
    options: [
      ownOptions,
      ...Object.entries({ ...PINNED, ...parameters }).map(
        ([name, value]) => `-c ${name}=${value.replaceAll(' ', '\\ ')}`,
      ),
    ]
      .join(' ')
      .trim(),
    ...(queryTimeoutMs > 0 ? { query_timeout: queryTimeoutMs } : {}),
    stream: () => socket?.() ?? new Socket(),
    ssl: security.ssl,
    // the driver would take PGSSLNEGOTIATION
    sslnegotiation: isDirect ? 'direct' : 'postgres',
    enableChannelBinding: channelBinding === 'require' || channelBinding === 'prefer',
    ...(replication ? { replication: 'database' } : {}),
  };
  const client = createClient(config, decodeURIComponent(target.pathname.slice(1)));
  // the driver asks for it when the server does
  if (passwordCommand !== '') Object.assign(client, { password: async () => passwordOf(passwordCommand, timeoutMs) });
  let lost = false;
  const lose = (error?: Error): void => {
    if (lost) return;
    lost = true;
    onLost(error === undefined ? unreachable('the connection to Postgres ended') : postgresError(error));
  };
  client.on('error', lose);
  const connecting = client.connect();
  const refused = guardLogin(client, {
    isTrusted: security.isVerified || isLocal(host.name),
    mustBind: channelBinding === 'require',
  });
  const told = toldBy(client);
  try {
    await connecting;
    const refusal = refused(true);
    if (refusal !== undefined) throw refusal;
    if (mustBePrimary && told.get('in_hot_standby') === 'on')
      throw new OutboxError('OUTBOX_PG_STANDBY', { detail: 'the server is a standby' });
    // a walsender that decodes a large transaction, or a long look, is in one
    if (Number.parseInt(told.get('server_version') ?? '', 10) >= HAS_TRANSACTION_TIMEOUT)
      await client.query('SET transaction_timeout = 0');
  } catch (error) {
    lost = true;
    await endClient(client);
    // it refuses what is asked of a session when it begins
    throw refused(false) ?? loginError(host, error);
  }
  client.on('end', () => lose());
  return client;
}

/** Throws OUTBOX_PG_UNREACHABLE where a certificate cannot be read. */
function secured(parameters: URLSearchParams): Security {
  try {
    return securityOf(parameters);
  } catch (error) {
    throw unreachable('a certificate that DATABASE_URL names cannot be read', error);
  }
}

/** What the server says of itself while it lets in. To be called before that. */
function toldBy(client: pg.Client): ReadonlyMap<string, string> {
  const { connection } = client as unknown as { connection: EventEmitter };
  const told = new Map<string, string>();
  connection.on('parameterStatus', (status: { parameterName: string; parameterValue: string }) => {
    told.set(status.parameterName, status.parameterValue);
  });
  return told;
}

/** A server that nobody can stand before. */
export function isLocal(host: string): boolean {
  return isLoopback(host) || host.startsWith('/');
}

function createClient(config: pg.ClientConfig, database: string): pg.Client {
  let client: pg.Client;
  try {
    client = new pg.Client(config);
  } catch (error) {
    // a certificate that cannot be read
    throw new OutboxError('OUTBOX_PG_UNREACHABLE', { detail: 'the driver refuses DATABASE_URL', cause: error });
  }
  // the driver would decode its name as it does a whole URL
  const { connectionParameters } = client as unknown as { connectionParameters: { database: string } };
  if (database !== '') connectionParameters.database = database;
  return client;
}

/** Ends a connection within about a second: a peer that is gone never says goodbye. */
export async function endClient(client: pg.Client): Promise<void> {
  const { connection } = client as unknown as { connection: { stream: Socket } };
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, END_TIMEOUT_MS);
  });
  // the driver waits for an event that a connection which failed half-way may never send
  await Promise.race([client.end().catch(() => undefined), late]);
  clearTimeout(timer);
  connection.stream.destroy();
}

/** A connection for statements, one at a time, whose errors are OutboxErrors. */
export class Database {
  readonly #client: pg.Client;
  /** Of the outbox: statements that name `outbox` get to name it instead, see inSchema. */
  readonly schema: string;
  #last: Promise<unknown> = Promise.resolve();

  private constructor(client: pg.Client, schema: string) {
    this.#client = client;
    this.schema = schema;
  }

  static async connect(
    access: string | DatabaseAccess,
    options: ConnectOptions,
    onLost: (error: OutboxError) => void,
  ): Promise<Database> {
    return new Database(await connectClient(access, options, onLost), accessOf(access).schema);
  }

  /** Of several statements in one text, which have no values, the last one's rows. Throws OutboxErrors OUTBOX_PG_*. */
  async query<R extends pg.QueryResultRow>(
    text: string,
    values: unknown[] = [],
  ): Promise<{ rows: R[]; count: number }> {
    const said = inSchema(this.schema, text);
    const result = this.#last.then(() => this.#client.query<R>(said, values));
    this.#last = result.catch(() => undefined);
    try {
      const answers: pg.QueryResult<R> | pg.QueryResult<R>[] = await result;
      const { rows, rowCount } = Array.isArray(answers) ? answers.at(-1)! : answers;
      return { rows, count: rowCount ?? 0 };
    } catch (error) {
      throw postgresError(error, OVER_EVENTS.test(text), this.schema);
    }
  }

  /** The driver's client, for libraries that want one. Not to be used beside `query`. */
  get client(): pg.Client {
    return this.#client;
  }

  async close(): Promise<void> {
    await endClient(this.#client);
  }
}
