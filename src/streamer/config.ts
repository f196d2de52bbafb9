import { readFileSync } from 'node:fs';
import { OutboxError } from '../errors.ts';
import { nearest, TYPO_SHARE } from '../nearest.ts';
import { type Config, type Setting, SETTINGS } from './settings.ts';
import { readClickHouseUrl, urlsOf, withHostsOf } from './clickhouse/hosts.ts';
import { databaseUrlOf, readDatabaseUrl } from './source/hosts.ts';
import {
  CHANNEL_BINDINGS,
  FILE_PARAMETERS,
  KNOWN_PARAMETERS,
  SESSION_ATTRS,
  SSL_MODES,
  STANDBY_ATTRS,
  SYSTEM,
  unreadSecurity,
} from './source/parameters.ts';

export type { Config };

type Env = Readonly<Record<string, string | undefined>>;

/** A setting's value, or what is wrong with it: words to follow the setting's name. Never the value itself. */
type Outcome = { value: string | number } | { fault: string };

/** Belongs to the tests, not to the service, but is often in the same environment. */
const KNOWN_ELSEWHERE = ['OUTBOX_TEST_SERVICES', 'OUTBOX_TEST_CLUSTER'];

const CHOICES: Readonly<Record<string, readonly string[]>> = {
  sslmode: SSL_MODES,
  channel_binding: CHANNEL_BINDINGS,
  target_session_attrs: SESSION_ATTRS,
};

/** Parameters of a Postgres URL that are worth seeing and can hold no secret. */
const PRINTABLE_PARAMETERS = ['host', 'port', 'sslmode', 'application_name', 'target_session_attrs', 'connect_timeout'];

/**
 * Reads the streamer's settings from an environment. An empty string counts as not set.
 *
 * A secret may be given as NAME_FILE, the path of a file that holds it (trailing newlines are dropped).
 *
 * @throws {OutboxError} OUTBOX_CONFIG_INVALID with every problem found. Problems name settings and what they must be,
 * never a value, a path or a file's content: a secret may have landed in the wrong variable.
 */
export function readConfig(env: Env, readFile: (path: string) => string = readText): Config {
  const values: Record<string, string | number> = {};
  const problems: string[] = [];

  for (const [name, setting] of entries()) {
    if (setting.readBy !== 'streamer') continue;
    const outcome = setting.kind === 'url' ? readUrl(name, setting, env, readFile) : readPlain(setting, env[name]);
    if ('fault' in outcome) problems.push(`${name} ${outcome.fault}`);
    else values[setting.key] = outcome.value;
  }

  // the largest event that the library lets through must fit a batch, or the limit on memory would not hold
  const maxEventBytes = Number(env['OUTBOX_MAX_EVENT_BYTES']);
  const maxBatchBytes = values[SETTINGS.OUTBOX_BATCH_MAX_BYTES.key];
  if (typeof maxBatchBytes === 'number' && maxEventBytes > maxBatchBytes)
    problems.push('OUTBOX_BATCH_MAX_BYTES must not be below OUTBOX_MAX_EVENT_BYTES');

  const quorum = values[SETTINGS.OUTBOX_INSERT_QUORUM.key];
  if (quorum !== undefined && quorum !== 'off' && values[SETTINGS.OUTBOX_CLICKHOUSE_CLUSTER.key] === '')
    problems.push(
      'OUTBOX_INSERT_QUORUM needs OUTBOX_CLICKHOUSE_CLUSTER, by which the replicas are asked what they have',
    );

  problems.push(...unknownNames(env));
  const databaseUrl = values[SETTINGS.DATABASE_URL.key];
  if (typeof databaseUrl === 'string') problems.push(...unreadSecurity(env, databaseUrlOf(databaseUrl).url));
  if (problems.length > 0 || !isComplete(values)) throw new OutboxError('OUTBOX_CONFIG_INVALID', { problems });
  return Object.freeze(values);
}

/** The value of one setting, for who needs no other. Throws OUTBOX_CONFIG_INVALID. */
export function readSetting(name: keyof typeof SETTINGS, env: Env): string | number {
  const setting: Setting = SETTINGS[name];
  const outcome = setting.kind === 'url' ? readUrl(name, setting, env, readText) : readPlain(setting, env[name]);
  if ('fault' in outcome) throw new OutboxError('OUTBOX_CONFIG_INVALID', { problems: [`${name} ${outcome.fault}`] });
  return outcome.value;
}

/** What the streamer would run with. */
export interface Effective {
  readonly name: string;
  /** Without passwords. */
  readonly value: string | number;
  readonly from: 'environment' | 'file' | 'default';
}

/** All settings of the streamer, in the order of the table. Throws OUTBOX_CONFIG_INVALID with every problem found. */
export function effectiveSettings(env: Env, readFile: (path: string) => string = readText): Effective[] {
  const config = redact(readConfig(env, readFile));
  return entries()
    .filter(([, { readBy }]) => readBy === 'streamer')
    .map(([name, { key, kind }]) => {
      const from = kind === 'url' && env[`${name}_FILE`] ? 'file' : env[name] ? 'environment' : 'default';
      return { name, value: config[key]!, from };
    });
}

/** A copy that may be printed: the URLs keep user, hosts, ports and database, and lose the password. */
export function redact(config: Config): Readonly<Record<string, string | number>> {
  const copy: Record<string, string | number> = { ...config };
  for (const [, setting] of entries()) {
    if (setting.kind === 'url') copy[setting.key] = redactUrl(String(copy[setting.key]), setting);
  }
  return copy;
}

/** Tells the compiler what the loop of `readConfig` has done: the types of the values follow from the table. */
function isComplete(values: Record<string, string | number>): values is Config {
  return entries().every(([, { key, readBy }]) => readBy !== 'streamer' || key in values);
}

function redactUrl(text: string, { parameters: isPostgres }: Extract<Setting, { kind: 'url' }>): string {
  const { url, list } = isPostgres ? databaseUrlOf(text) : { url: urlsOf(text)[0], list: '' };
  url.password = '';
  for (const name of new Set(url.searchParams.keys())) {
    if (!PRINTABLE_PARAMETERS.includes(name)) url.searchParams.set(name, '***');
  }
  return isPostgres
    ? url.href.replace(/(?<=^[a-z]+:\/\/(?:[^/?#]*@)?)localhost(?=[/?#]|$)/, () => list)
    : withHostsOf(text, url);
}

function entries(): [string, Setting][] {
  return Object.entries(SETTINGS);
}

function readText(path: string): string {
  return readFileSync(path, 'utf8');
}

function readPlain(setting: Exclude<Setting, { kind: 'url' }>, given: string | undefined): Outcome {
  if (!given) return { value: setting.default };
  if (setting.kind === 'integer') {
    const value = /^\d+$/.test(given) ? Number(given) : Number.NaN;
    if (value >= setting.min && value <= setting.max) return { value };
    return { fault: `must be a whole number from ${setting.min} to ${setting.max} (${setting.unit})` };
  }
  if (setting.kind === 'choice') {
    if (setting.choices.includes(given)) return { value: given };
    return { fault: `must be one of ${setting.choices.join(', ')}` };
  }
  return setting.pattern.test(given) ? { value: given } : { fault: `must be ${setting.form}` };
}

function readUrl(
  name: string,
  setting: Extract<Setting, { kind: 'url' }>,
  env: Env,
  readFile: (path: string) => string,
): Outcome {
  const path = env[`${name}_FILE`];
  let given = env[name];
  if (given && path) return { fault: `and ${name}_FILE are both given; keep one` };
  if (path) {
    try {
      given = readFile(path).replace(/[\r\n]+$/, '');
    } catch (error) {
      return { fault: `cannot be read from the file that ${name}_FILE names${systemCode(error)}` };
    }
    if (!given) return { fault: `is empty in the file that ${name}_FILE names` };
  }
  if (!given) return { fault: `is missing; give it, or a file that holds it as ${name}_FILE` };
  const fault = urlFault(given, setting, readFile);
  return fault ? { fault } : { value: setting.database ? given : completed(given) };
}

/** With the user and the database that ClickHouse's own clients take where none is given. */
function completed(text: string): string {
  const [url] = urlsOf(text);
  if (url.username !== '' && url.pathname.length > 1) return text;
  url.username ||= 'default';
  if (url.pathname.length <= 1) url.pathname = '/default';
  return withHostsOf(text, url);
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
    const path = searchParams.get(name);
    try {
      if (path && path !== SYSTEM) readFile(path);
    } catch (error) {
      return `names an ${name} that cannot be read${systemCode(error)}`;
    }
  }
  return undefined;
}

function systemCode(error: unknown): string {
  return error instanceof Error && 'code' in error ? ` (${String(error.code)})` : '';
}

function urlFault(
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

function isDecodable(text: string): boolean {
  try {
    decodeURIComponent(text);
    return true;
  } catch {
    return false;
  }
}

function unknownNames(env: Env): string[] {
  const names = entries().flatMap(([name, { kind }]) => (kind === 'url' ? [name, `${name}_FILE`] : [name]));
  const known = new Set([...names, ...KNOWN_ELSEWHERE]);
  return Object.entries(env)
    .filter(([name, value]) => name.startsWith('OUTBOX_') && value && !known.has(name) && !isServiceLink(name, value))
    .map(([name]) => `${name} is unknown${hint(name, names)}`);
}

/** Kubernetes puts OUTBOX_SERVICE_HOST, OUTBOX_PORT and more into every pod beside a service called `outbox…`. */
function isServiceLink(name: string, value: string): boolean {
  if (/_SERVICE_(HOST|PORT|PORT_[A-Z0-9_]+)$|_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$/.test(name)) return true;
  return name.endsWith('_PORT') && /^(tcp|udp|sctp):\/\//.test(value);
}

function hint(name: string, names: readonly string[]): string {
  // OUTBOX_LOG_LEVEL means LOG_LEVEL: a prefix too many is one slip, not seven
  const whole = nearest(name, names);
  const bare = nearest(name.slice('OUTBOX_'.length), names);
  const found = bare !== undefined && whole !== undefined && 1 + bare.edits < whole.edits ? bare : whole;
  return found === undefined ? '' : `; the nearest name is ${found.name}`;
}
