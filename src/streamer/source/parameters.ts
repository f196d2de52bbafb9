import type { ConnectionOptions } from 'node:tls';
import { readPem } from '../pem-file.ts';

/** Parameters of DATABASE_URL that are paths, read at each connection. */
export const FILE_PARAMETERS = ['sslrootcert', 'sslcert', 'sslkey'] as const;
/** `allow` and `prefer` promise nothing, and are refused: a login would go out in plain text whenever somebody asks for it. */
export const SSL_MODES = ['disable', 'require', 'verify-ca', 'verify-full', 'no-verify'] as const;
export const CHANNEL_BINDINGS = ['disable', 'prefer', 'require'] as const;
/** Which of libpq's `target_session_attrs` lead to a server that can keep the ledger. */
export const SESSION_ATTRS = ['any', 'read-write', 'primary'] as const;
/** libpq's others. */
export const STANDBY_ATTRS: readonly string[] = ['read-only', 'standby', 'prefer-standby'];
const CONNECT_TIMEOUT_MS = 10_000;
/** Root certificates that are not in a file: those of Node.js. */
export const SYSTEM = 'system';

/** The driver takes these as they are. */
export const TAKEN = ['host', 'port', 'user', 'password', 'client_encoding'];

/** How a host is reached, and which one is wanted. */
const REACHING = ['connect_timeout', 'target_session_attrs'];

/** These say how a session is held, which is ours to decide; libpq's are accepted, so that a URL serves both. */
export const OURS = [
  // a streamer is known by it
  'application_name',
  'fallback_application_name',
  'options',
  'replication',
  'statement_timeout',
  'lock_timeout',
  'idle_in_transaction_session_timeout',
  'query_timeout',
  'connectionTimeoutMillis',
  'keepAlive',
  'keepalives',
  'keepalives_idle',
  'keepalives_interval',
  'keepalives_count',
  'tcp_user_timeout',
  'gssencmode',
  'stream',
  ...REACHING,
];

/** What is made into the driver's `ssl`. */
export const SECURED = ['sslmode', ...FILE_PARAMETERS, 'channel_binding', 'sslnegotiation'];

/** All that DATABASE_URL may have, as libpq spells it. */
export const KNOWN_PARAMETERS: readonly string[] = [...TAKEN, ...OURS, ...SECURED];

/** How long one host may take until it has let in. */
export function connectTimeoutMs(parameters: URLSearchParams): number {
  return Number(parameters.get('connect_timeout')) * 1000 || CONNECT_TIMEOUT_MS;
}

/**
 * Whether a standby is passed over: where several hosts are named, unless any is asked for. Every session here may write, whatever the
 * server's default is, so that `read-write` is `primary`.
 */
export function wantsPrimary(parameters: URLSearchParams, hosts: number): boolean {
  return (parameters.get('target_session_attrs') ?? (hosts > 1 ? 'primary' : 'any')) !== 'any';
}

/**
 * What is wrong with libpq's variables that say how a connection is secured. They are not read; who sets one would believe in TLS that
 * is not there. A parameter of DATABASE_URL goes before its variable in libpq, too.
 */
export function unreadSecurity(env: Readonly<Record<string, string | undefined>>, url: URL): string[] {
  const variableOf = (parameter: string): string => `PG${parameter.replaceAll('_', '').toUpperCase()}`;
  const given = [...url.searchParams.keys()].map(variableOf);
  return Object.keys(env)
    .filter((name) => /^PG(SSL|REQUIRE|CHANNELBINDING$)/.test(name) && env[name] && !given.includes(name))
    .toSorted()
    .map((name) => {
      const parameter = SECURED.find((one) => variableOf(one) === name);
      return parameter === undefined
        ? `${name} is not read, and has no equal here: unset it`
        : `${name} is not read: give ${parameter} as a parameter of DATABASE_URL, or unset it`;
    });
}

export interface Security {
  /** For the driver; false without TLS. */
  readonly ssl: ConnectionOptions | false;
  /** The server has shown that it is who it says. */
  readonly isVerified: boolean;
}

/**
 * TLS as libpq means `sslmode`. Without one there is none, unless a root certificate is named.
 *
 * https://www.postgresql.org/docs/current/libpq-ssl.html
 */
export function securityOf(parameters: URLSearchParams): Security {
  const root = parameters.get('sslrootcert');
  // no weaker mode goes with the authorities of all the world
  const given = root === SYSTEM ? undefined : parameters.get('sslmode');
  const mode = given ?? (root === null ? 'disable' : 'verify-full');
  if (mode === 'disable') return { ssl: false, isVerified: false };
  const read = (name: string): string | undefined => {
    const path = parameters.get(name);
    return path === null || path === SYSTEM ? undefined : readPem(path);
  };
  const [ca, cert, key] = FILE_PARAMETERS.map(read);
  const files = { ...(ca && { ca }), ...(cert && { cert }), ...(key && { key }) };
  // with a root certificate `require` is `verify-ca`, as in libpq
  const isChecked = mode === 'verify-full' || mode === 'verify-ca' || (mode === 'require' && root !== null);
  const isNamed = mode === 'verify-full';
  return {
    ssl: {
      ...files,
      rejectUnauthorized: isChecked,
      ...(isNamed ? {} : { checkServerIdentity: () => undefined }),
    },
    // whose name is not looked at may be anybody with a certificate
    isVerified: isChecked && isNamed,
  };
}
