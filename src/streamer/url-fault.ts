import { nearest, TYPO_SHARE } from '../nearest.ts';
import { readClickHouseUrl, urlsOf, withHostsOf } from './clickhouse/hosts.ts';
import { readPem } from './pem-file.ts';
import type { Setting } from './setting.ts';
import { readDatabaseUrl } from './source/hosts.ts';
import {
  CHANNEL_BINDINGS,
  FILE_PARAMETERS,
  KNOWN_PARAMETERS,
  SESSION_ATTRS,
  SSL_MODES,
  STANDBY_ATTRS,
  SYSTEM,
} from './source/parameters.ts';

const CHOICES: Readonly<Record<string, readonly string[]>> = {
  sslmode: SSL_MODES,
  channel_binding: CHANNEL_BINDINGS,
  target_session_attrs: SESSION_ATTRS,
};

export function urlFault(
  text: string,
  setting: Extract<Setting, { kind: 'url' }>,
  readFile: (path: string) => string,
): string | undefined {
  const encode = 'percent-encode the special characters of user and password';
  const form = `must have the form ${setting.protocols.join('// or ')}//user:password@host:port/database`;
  if (/\s/.test(text) || !isDecodable(text)) return `${form}; ${encode}`;
  const read = setting.parameters ? readDatabaseUrl(text) : undefined;
  const url = typeof read === 'object' ? read.url : readClickHouseUrl(text)?.[0];
  if (url === undefined) return `${form}; ${encode}`;
  if (!setting.protocols.includes(url.protocol)) return form;
  if (url.hash || `${url.pathname}${url.search}`.includes('@')) return `${form}; ${encode}`;
  if (typeof read === 'string') return read;
  if (
    read === undefined
      ? readClickHouseUrl(text)?.some(({ hostname }) => !hostname)
      : read.hosts.some(({ name }) => name === '')
  )
    return `${form}: the host is missing`;
  if (!setting.database && /^\/?$/.test(url.pathname)) return undefined;
  if (!/^\/[^/]+$/.test(url.pathname)) return `${form}: the path must be the name of one database`;
  if (url.search && !setting.parameters) return `${form}, without parameters`;
  return parameterFault(url, readFile);
}

function parameterFault({ searchParams }: URL, readFile: (path: string) => string): string | undefined {
  // a name that is not taken is not repeated: it may be what follows a question mark in a password
  const names = [...searchParams.keys()];
  const unknown = names.find((name) => !KNOWN_PARAMETERS.includes(name));
  if (unknown !== undefined) {
    const meant = nearest(unknown, KNOWN_PARAMETERS, TYPO_SHARE)?.name;
    return `has a parameter that is not known${meant === undefined ? '' : `, perhaps meant to be ${meant}`}; docs/configuration.md lists them`;
  }
  const twice = names.find((name, at) => names.indexOf(name) !== at);
  if (twice !== undefined) return `has the parameter ${twice} more than once`;
  if (STANDBY_ATTRS.includes(searchParams.get('target_session_attrs') ?? ''))
    return 'has a target_session_attrs that may lead to a standby, which can keep no ledger: use primary or read-write';
  for (const [name, choices] of Object.entries(CHOICES)) {
    const value = searchParams.get(name);
    if (value !== null && !choices.includes(value))
      return `has ${name === 'sslmode' ? 'an' : 'a'} ${name} that is none of ${choices.join(', ')}`;
  }
  if (!/^\d{1,4}$/.test(searchParams.get('connect_timeout') ?? '0'))
    return 'has a connect_timeout that is no whole number of seconds from 0 to 9999';
  if (searchParams.get('sslrootcert') === SYSTEM && (searchParams.get('sslmode') ?? 'verify-full') !== 'verify-full')
    return 'has an sslmode that does not go with sslrootcert=system, whose authorities sign for anybody: use verify-full';
  if (searchParams.get('sslmode') === 'verify-ca' && !searchParams.has('sslrootcert'))
    return 'has sslmode=verify-ca without an sslrootcert: name the authority, or use verify-full';
  for (const name of FILE_PARAMETERS) {
    const path = searchParams.get(name) ?? '';
    const fault = path === SYSTEM ? undefined : fileFault(path, readFile);
    if (fault !== undefined) return `names an ${name} that cannot be read${fault}`;
  }
  return undefined;
}

/** With the user and the database that ClickHouse's own clients take where none is given. */
export function completed(text: string): string {
  const [url] = urlsOf(text);
  if (url.username !== '' && url.pathname.length > 1) return text;
  url.username ||= 'default';
  if (url.pathname.length <= 1) url.pathname = '/default';
  return withHostsOf(text, url);
}

/** Why a file of certificates or a key cannot be read, as the system's code, or that it is empty; undefined when it can. */
export function fileFault(path: string, readFile: (path: string) => string): string | undefined {
  try {
    if (path !== '') readPem(path, readFile);
    return undefined;
  } catch (error) {
    return systemCode(error);
  }
}

export function systemCode(error: unknown): string {
  return error instanceof Error && 'code' in error ? ` (${String(error.code)})` : '';
}

function isDecodable(text: string): boolean {
  try {
    decodeURIComponent(text);
    return true;
  } catch {
    return false;
  }
}
