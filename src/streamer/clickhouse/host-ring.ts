import { ClickHouseLogLevel, createClient, type ClickHouseClient } from '@clickhouse/client';
import { OutboxError } from '../../errors.ts';
import { PACKAGE_NAME } from '../../package.ts';
import { urlsOf } from './hosts.ts';

/** A request of its own may be under way beside an insert. */
const MAX_CONNECTIONS = 2;

interface Host {
  readonly url: URL;
  readonly client: ClickHouseClient;
}

/** The hosts of a URL, one of which is asked at a time: the first, and another once it is away. */
export class HostRing {
  readonly #hosts: readonly Host[];
  #at = 0;
  #answeredBy: string | undefined;
  #turns = 0;

  /** @param deadlineMs after which a request is given up */
  constructor(url: string, deadlineMs: number) {
    this.#hosts = urlsOf(url).map((host) => ({ url: host, client: clientOf(host, deadlineMs) }));
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

  /** The next one is asked instead. Of requests beside each other, the first to fail decides. */
  leave(server: URL): void {
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
    await Promise.all(this.#hosts.map(async ({ client }) => client.close()));
  }
}

/** Whether another host may answer where one failed so. */
export function isAway(error: OutboxError): boolean {
  return error.code === 'OUTBOX_CH_UNREACHABLE' || error.code === 'OUTBOX_CH_KEEPER_AWAY';
}

function clientOf(host: URL, deadlineMs: number): ClickHouseClient {
  const server = new URL(host);
  // the client would take the path as it stands, percent signs and all
  server.pathname = '';
  return createClient({
    url: server,
    database: decodeURIComponent(host.pathname.slice(1)),
    application: PACKAGE_NAME,
    request_timeout: deadlineMs,
    max_open_connections: MAX_CONNECTIONS,
    keep_alive: { enabled: true, eagerly_destroy_stale_sockets: true },
    compression: { request: false, response: false },
    log: { level: ClickHouseLogLevel.OFF },
  });
}
