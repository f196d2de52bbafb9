import { readFileSync } from 'node:fs';
import type { ConnectionOptions } from 'node:tls';

/** Parameters of DATABASE_URL that are paths, read at each connection. */
export const FILE_PARAMETERS = ['sslrootcert', 'sslcert', 'sslkey'] as const;
/** `allow` and `prefer` promise nothing, and are refused: a login would go out in plain text whenever somebody asks for it. */
export const SSL_MODES = ['disable', 'require', 'verify-ca', 'verify-full', 'no-verify'] as const;
export const CHANNEL_BINDINGS = ['disable', 'prefer', 'require'] as const;
/** Root certificates that are not in a file: those of Node.js. */
const SYSTEM = 'system';

/** The driver takes these as they are. */
export const TAKEN = [
  'host',
  'port',
  'user',
  'password',
  'application_name',
  'fallback_application_name',
  'client_encoding',
];

/** These say how a session is held, which is ours to decide; libpq's are accepted, so that a URL serves both. */
export const OURS = [
  'options',
  'replication',
  'statement_timeout',
  'lock_timeout',
  'idle_in_transaction_session_timeout',
  'query_timeout',
  'connectionTimeoutMillis',
  'connect_timeout',
  'keepAlive',
  'keepalives',
  'keepalives_idle',
  'keepalives_interval',
  'keepalives_count',
  'tcp_user_timeout',
  'target_session_attrs',
  'gssencmode',
  'stream',
];

/** What is made into the driver's `ssl`. */
export const SECURED = ['sslmode', ...FILE_PARAMETERS, 'channel_binding', 'sslnegotiation'];

/** All that DATABASE_URL may have, as libpq spells it. */
export const KNOWN_PARAMETERS: readonly string[] = [...TAKEN, ...OURS, ...SECURED];

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
  const mode = parameters.get('sslmode') ?? (root === null ? 'disable' : 'verify-full');
  if (mode === 'disable') return { ssl: false, isVerified: false };
  const read = (name: string): string | undefined => {
    const path = parameters.get(name);
    return path === null || path === SYSTEM ? undefined : readFileSync(path, 'utf8');
  };
  const [ca, cert, key] = FILE_PARAMETERS.map(read);
  const files = { ...(ca && { ca }), ...(cert && { cert }), ...(key && { key }) };
  // with a root certificate `require` is `verify-ca`, as in libpq
  const isChecked = mode === 'verify-full' || mode === 'verify-ca' || (mode === 'require' && root !== null);
  const isNamed = mode === 'verify-full' || root === SYSTEM;
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
