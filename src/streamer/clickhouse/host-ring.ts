import { Agent } from 'node:https';
import { isDeepStrictEqual } from 'node:util';
import {
  ClickHouseLogLevel,
  createClient,
  type ClickHouseClient,
  type ClickHouseClientConfigOptions,
} from '@clickhouse/client';
import { OutboxError } from '../../errors.ts';
import { PACKAGE_NAME } from '../../package.ts';
import { credentialsOf, type ClickHouseAccess, type Credentials } from './access.ts';
import { urlsOf } from './hosts.ts';
import { ClickHouseRefusal } from './refusal.ts';

/** A request of its own may be under way beside an insert. */
export const MAX_CONNECTIONS = 2;
/** Of clients whose credentials are replaced so many stay: requests may be under way. */
const MAX_REPLACED = 4;

interface Host {
  readonly url: URL;
  readonly client: ClickHouseClient;
}

/** The hosts of a URL, one of which is asked at a time: the first, and another once it is away. */
export class HostRing {
  readonly #access: string | ClickHouseAccess;
  readonly #deadlineMs: number;
  readonly #connections: number;
  readonly #replaced: Host[] = [];
  #credentials: Credentials;
  #hosts: readonly Host[];
  #at = 0;
  #answeredBy: string | undefined;
  #turns = 0;
  readonly #away = new Map<string, OutboxError>();

  /** @param deadlineMs after which a request is given up @param connections to a host; further requests wait for one */
  constructor(access: string | ClickHouseAccess, deadlineMs: number, connections: number) {
    this.#access = access;
    this.#connections = connections;
    this.#deadlineMs = deadlineMs;
    this.#credentials = credentialsOf(access);
    this.#hosts = this.#open();
  }

  #open(): Host[] {
    const { url, ...files } = this.#credentials;
    return urlsOf(url).map((host) => ({
      url: host,
      client: clientOf(host, files, this.#deadlineMs, this.#connections),
    }));
  }

  /** To be called before a request: new connections are made where a file holds something new. */
  renew(): void {
    if (typeof this.#access === 'string') return;
    const read = credentialsOf(this.#access, this.#credentials);
    if (isDeepStrictEqual(read, this.#credentials)) return;
    // another target is no rotation: what is pending in one must not be repeated in the other
    const isSameTarget = targetOf(read.url) === targetOf(this.#credentials.url);
    const credentials = isSameTarget ? read : { ...read, url: this.#credentials.url };
    if (isDeepStrictEqual(credentials, this.#credentials)) return;
    this.#credentials = credentials;
    this.#replaced.push(...this.#hosts);
    this.#hosts = this.#open();
    while (this.#replaced.length > MAX_REPLACED * this.#hosts.length) void this.#replaced.shift()!.client.close();
  }

  get size(): number {
    return this.#hosts.length;
  }

  get server(): URL {
    return this.#hosts[this.#at]!.url;
  }

  get client(): ClickHouseClient {
    return this.#hosts[this.#at]!.client;
  }

  /** Hosts that were away when they were last asked, and what each answered. */
  get away(): ReadonlyMap<string, OutboxError> {
    return this.#away;
  }

  reached(server: URL): void {
    this.#away.delete(server.host);
  }

  /** The next one is asked instead. Of requests beside each other, the first to fail decides. */
  leave(server: URL, why?: OutboxError): void {
    if (why !== undefined) this.#away.set(server.host, why);
    if (server === this.server) this.#at = (this.#at + 1) % this.#hosts.length;
  }

  /** How often another server has answered than the one before: behind one address there may be several. */
  get turns(): number {
    return this.#turns;
  }

  /** @param name what the server calls itself; a proxy may not pass it on */
  answered(name: unknown): void {
    if (typeof name !== 'string' || name === this.#answeredBy) return;
    if (this.#answeredBy !== undefined) this.#turns++;
    this.#answeredBy = name;
  }

  async close(): Promise<void> {
    await Promise.all([...this.#replaced, ...this.#hosts].map(async ({ client }) => client.close()));
  }
}

function targetOf(url: string): string {
  return String(urlsOf(url).map(({ protocol, host, pathname }) => `${protocol}//${host}${pathname}`));
}

/** Whether another host may answer where one failed so. What is too large for the proxy of one is split instead. */
export function isAway(error: OutboxError): boolean {
  if (error.code === 'OUTBOX_CH_PROXY') return error instanceof ClickHouseRefusal && error.fault !== 'size';
  return error.code === 'OUTBOX_CH_UNREACHABLE' || error.code === 'OUTBOX_CH_KEEPER_AWAY';
}

function clientOf(
  host: URL,
  { ca, cert, key }: Omit<Credentials, 'url'>,
  deadlineMs: number,
  connections: number,
): ClickHouseClient {
  const server = new URL(host);
  // the client would take the path as it stands, percent signs and all
  server.pathname = '';
  return createClient({
    url: server,
    database: decodeURIComponent(host.pathname.slice(1)),
    application: PACKAGE_NAME,
    request_timeout: deadlineMs,
    max_open_connections: connections,
    keep_alive: { enabled: true, eagerly_destroy_stale_sockets: true },
    compression: { request: false, response: false },
    log: { level: ClickHouseLogLevel.OFF },
    ...(ca !== undefined || cert !== undefined ? secured(host.password !== '', { ca, cert, key }, connections) : {}),
  });
}

/** With a certificate and no password, the client says in a header that the certificate is the login. */
function secured(
  hasPassword: boolean,
  { ca, cert, key }: Omit<Credentials, 'url'>,
  connections: number,
): Pick<ClickHouseClientConfigOptions, 'tls'> | Pick<ClickHouseClientConfigOptions, 'http_agent'> {
  if (cert === undefined || key === undefined) return { tls: { ca_cert: Buffer.from(ca ?? '') } };
  if (hasPassword) return { http_agent: new Agent({ keepAlive: true, maxSockets: connections, ca, cert, key }) };
  // without an authority, those of Node.js
  const tls = { ...(ca !== undefined && { ca_cert: Buffer.from(ca) }), cert: Buffer.from(cert), key: Buffer.from(key) };
  return { tls: tls as typeof tls & { ca_cert: Buffer } };
}

/** What became of a request that failed. @param afterMs when it was given up, if it was */
export function awayOf(error: unknown, afterMs: number | undefined): OutboxError {
  if (error instanceof OutboxError) return error;
  const detail =
    afterMs === undefined
      ? `no connection to ClickHouse: ${reason(error)}`
      : `no answer from ClickHouse within ${afterMs} ms`;
  return new OutboxError('OUTBOX_CH_UNREACHABLE', { detail });
}

/** A network error's code says enough; its message may hold the URL. */
function reason(error: unknown): string {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === 'string' ? code : error instanceof Error ? error.name : 'unknown error';
}
