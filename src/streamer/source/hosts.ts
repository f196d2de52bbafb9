import { OutboxError } from '../../errors.ts';

/** A server that DATABASE_URL names. */
export interface Host {
  /** A name, an address without brackets, or the directory of a Unix socket. */
  readonly name: string;
  /** Empty for the default. */
  readonly port: string;
}

export interface DatabaseUrl {
  /** In the order in which they are tried. One without a name is missing. */
  readonly hosts: readonly Host[];
  /** The hosts as they stand in the URL. */
  readonly list: string;
  /** All but the hosts, in whose place it has `localhost`. */
  readonly url: URL;
}

/** Scheme · login · hosts · path and parameters. The login ends at the last @, as in every URL. */
const PARTS = /^([a-z]+:\/\/)((?:[^/?#]*@)?)([^/?#]*)(.*)$/is;

/**
 * Reads a URL of libpq, which may name several hosts, each with its port, or in the parameters `host` and `port`, where one port is for
 * all. Returns undefined for what is no URL, and a text, to follow the setting's name, where hosts and ports do not match.
 *
 * https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS
 */
export function readDatabaseUrl(text: string): DatabaseUrl | string | undefined {
  const [, scheme, login, list, rest] = PARTS.exec(text) ?? [];
  if (scheme === undefined || list === undefined) return undefined;
  const url = URL.parse(`${scheme}${login}localhost${rest}`);
  const named = list.split(',').map((host) => URL.parse(`${scheme}${host}`));
  if (url === null || !named.every((host) => host !== null)) return undefined;
  const names =
    url.searchParams.get('host')?.split(',') ??
    named.map(({ hostname }) => decodeURIComponent(hostname).replace(/^\[(.*)\]$/, '$1'));
  const ports = url.searchParams.get('port')?.split(',') ?? named.map(({ port }) => port);
  if (!ports.every((port) => /^\d{0,5}$/.test(port) && Number(port) < 65_536)) return 'has a port that is none';
  if (ports.length > 1 && ports.length !== names.length)
    return `has ${ports.length} ports for ${names.length} host${names.length === 1 ? '' : 's'}`;
  const hosts = names.map((name, at) => ({ name, port: ports.length === 1 ? ports[0]! : ports[at]! }));
  return { hosts, list, url };
}

/** The same of one that has been read before. Throws OUTBOX_CONFIG_INVALID. */
export function databaseUrlOf(text: string): DatabaseUrl {
  const read = readDatabaseUrl(text);
  if (typeof read === 'object') return read;
  throw new OutboxError('OUTBOX_CONFIG_INVALID', {
    problems: [`DATABASE_URL ${read ?? 'is not the URL of a database'}`],
  });
}

/** As a URL has it. */
export function formatHost({ name, port }: Host): string {
  const host = name.includes(':') ? `[${name}]` : name;
  return port === '' ? host : `${host}:${port}`;
}

/**
 * Connects to the first host that fits, as libpq does: one that cannot be reached, or is a standby, is passed over; one that refuses
 * the login ends the search. Throws what `connect` has thrown, with the names of the hosts where there are several.
 */
export async function connectToFirst<C>(hosts: readonly Host[], connect: (host: Host) => Promise<C>): Promise<C> {
  const passed: OutboxError[] = [];
  for (const host of hosts) {
    try {
      return await connect(host);
    } catch (error) {
      if (hosts.length === 1 || !(error instanceof OutboxError)) throw error;
      const { code, message, sqlState } = error;
      const named = new OutboxError(code, { detail: `${formatHost(host)}: ${message}`, sqlState, cause: error });
      if (code !== 'OUTBOX_PG_UNREACHABLE' && code !== 'OUTBOX_PG_STANDBY') throw named;
      passed.push(named);
    }
  }
  // a host that is away may be the primary in a moment: only where all answer, nothing but a promotion helps
  const isAway = passed.some(({ code }) => code === 'OUTBOX_PG_UNREACHABLE');
  throw new OutboxError(isAway ? 'OUTBOX_PG_UNREACHABLE' : 'OUTBOX_PG_STANDBY', {
    detail: 'no host of DATABASE_URL can be used',
    problems: passed.map(({ message }) => message),
  });
}
