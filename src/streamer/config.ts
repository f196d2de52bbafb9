import { readFileSync } from 'node:fs';
import { OutboxError } from '../errors.ts';
import { nearest } from '../nearest.ts';
import { type Config, type ConsoleConfig, type Setting, SETTINGS } from './settings.ts';
import { outboxKeepsDays, readPolicy } from './clickhouse/retention-policy.ts';
import { urlsOf, withHostsOf } from './clickhouse/hosts.ts';
import { isLoopback } from './loopback.ts';
import { MAX_SLOT_LENGTH, shareOf, slotOf } from './share.ts';
import { databaseUrlOf } from './source/hosts.ts';
import { unreadSecurity } from './source/parameters.ts';
import { completed, fileFault, systemCode, urlFault } from './url-fault.ts';

export type { Config, ConsoleConfig };

type Env = Readonly<Record<string, string | undefined>>;

/** A setting's value, or what is wrong with it: words to follow the setting's name. Never the value itself. */
type Outcome = { value: string | number } | { fault: string };

/** Belongs to the tests, not to the service, but is often in the same environment. */
const KNOWN_ELSEWHERE = ['OUTBOX_TEST_SERVICES', 'OUTBOX_TEST_CLUSTER'];

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
    const outcome = readOne(name, setting, env, readFile);
    if ('fault' in outcome) problems.push(`${name} ${outcome.fault}`);
    else if (setting.kind !== 'url' || !env[`${name}_FILE`]) values[setting.key] = outcome.value;
    else {
      const get = latestOf(outcome.value, () => readUrl(name, setting, env, readFile));
      Object.defineProperty(values, setting.key, { enumerable: true, get });
    }
  }

  // the largest event that the library lets through must fit a batch, or the limit on memory would not hold
  const maxEventBytes = Number(env['OUTBOX_MAX_EVENT_BYTES']);
  const maxBatchBytes = values[SETTINGS.OUTBOX_BATCH_MAX_BYTES.key];
  if (typeof maxBatchBytes === 'number' && maxEventBytes > maxBatchBytes)
    problems.push('OUTBOX_BATCH_MAX_BYTES must not be below OUTBOX_MAX_EVENT_BYTES');

  // an outbox of another name has a slot of that name
  if (!env['OUTBOX_SLOT'] && values['schema'] !== undefined) values['slot'] = values['schema'];
  problems.push(...nameSlot(values));
  const quorum = values[SETTINGS.OUTBOX_INSERT_QUORUM.key];
  if (quorum !== undefined && quorum !== 'off' && values[SETTINGS.OUTBOX_CLICKHOUSE_CLUSTER.key] === '')
    problems.push(
      'OUTBOX_INSERT_QUORUM needs OUTBOX_CLICKHOUSE_CLUSTER, by which the replicas are asked what they have',
    );

  problems.push(...retentionFaults(values));
  problems.push(...unknownNames(env));
  const databaseUrl = values[SETTINGS.DATABASE_URL.key];
  if (typeof databaseUrl === 'string') {
    problems.push(...unreadSecurity(env, databaseUrlOf(databaseUrl).url));
    if (values[SETTINGS.DATABASE_PASSWORD_COMMAND.key] && databaseUrlOf(databaseUrl).url.password)
      problems.push('DATABASE_PASSWORD_COMMAND and a password in DATABASE_URL are both given; keep one');
  }
  problems.push(...certificateFaults(values));
  if (problems.length > 0 || !isComplete(values)) throw new OutboxError('OUTBOX_CONFIG_INVALID', { problems });
  return Object.freeze(values);
}

/**
 * Reads the settings that only the console has.
 *
 * @throws {OutboxError} OUTBOX_CONFIG_INVALID as `readConfig` does
 */
export function readConsoleConfig(env: Env, readFile: (path: string) => string = readText): ConsoleConfig {
  const values: Record<string, string | number> = {};
  const problems: string[] = [];
  for (const [name, setting] of entries()) {
    if (setting.readBy !== 'console') continue;
    const outcome = readOne(name, setting, env, readFile);
    if ('fault' in outcome) problems.push(`${name} ${outcome.fault}`);
    else values[setting.key] = outcome.value;
  }
  const { consoleHost, consoleToken } = values;
  if (typeof consoleHost === 'string' && !isLoopback(consoleHost) && consoleToken === '')
    problems.push(`OUTBOX_CONSOLE_TOKEN is missing: other hosts can reach the console on the address ${consoleHost}`);
  if (problems.length > 0 || !isOfConsole(values)) throw new OutboxError('OUTBOX_CONFIG_INVALID', { problems });
  return Object.freeze(values);
}

/** Puts the share into the slot's name, and returns what is wrong with them. */
function nameSlot(values: Record<string, string | number>): string[] {
  const { slot, shard } = values;
  if (typeof slot !== 'string' || typeof shard !== 'string') return [];
  if (shareOf(slot) !== undefined) return ['OUTBOX_SLOT must not end as the slot of a share does: set OUTBOX_SHARD'];
  if (shard === '') return [];
  const [number, count] = shard.split('/').map(Number) as [number, number];
  if (number > count) return ['OUTBOX_SHARD must be k/n with k not above n'];
  values['slot'] = slotOf({ outbox: slot, number, count });
  return values['slot'].length > MAX_SLOT_LENGTH ? ['OUTBOX_SLOT is too long for the slots of its shares'] : [];
}

function readOne(name: string, setting: Setting, env: Env, readFile: (path: string) => string): Outcome {
  if (setting.kind === 'url') return readUrl(name, setting, env, readFile);
  if (setting.kind === 'secret') {
    const { text, fault } = readSecret(name, env, readFile);
    return fault === undefined ? readPlain(setting, text) : { fault };
  }
  if (setting.kind !== 'file') return readPlain(setting, env[name]);
  const fault = fileFault(env[name] ?? '', readFile);
  return fault === undefined ? { value: env[name] ?? '' } : { fault: `names a file that cannot be read${fault}` };
}

/** Reads a secret's file again whenever its value is asked for. What is no value, at that moment, leaves the last one. */
function latestOf(first: string | number, read: () => Outcome): () => string | number {
  let last = first;
  return () => {
    const outcome = read();
    if ('value' in outcome) last = outcome.value;
    return last;
  };
}

/** The value of one setting, for who needs no other. Throws OUTBOX_CONFIG_INVALID. */
export function readSetting(name: keyof typeof SETTINGS, env: Env): string | number {
  const setting: Setting = SETTINGS[name];
  const outcome = readOne(name, setting, env, readText);
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
    if (setting.kind === 'text' && setting.isSecret && copy[setting.key]) copy[setting.key] = '***';
  }
  return copy;
}

/** Tells the compiler what the loop of `readConfig` has done: the types of the values follow from the table. */
function isComplete(values: Record<string, string | number>): values is Config {
  return entries().every(([, { key, readBy }]) => readBy !== 'streamer' || key in values);
}

function isOfConsole(values: Record<string, string | number>): values is ConsoleConfig {
  return entries().every(([, { key, readBy }]) => readBy !== 'console' || key in values);
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

function readPlain(setting: Exclude<Setting, { kind: 'url' | 'file' }>, given: string | undefined): Outcome {
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
  const { text: given, fault: missing } = readSecret(name, env, readFile);
  if (missing !== undefined) return { fault: missing };
  if (!given) return { fault: `is missing; give it, or a file that holds it as ${name}_FILE` };
  const fault = urlFault(given, setting, readFile);
  return fault ? { fault } : { value: setting.database ? given : completed(given) };
}

/** What NAME or the file of NAME_FILE holds. */
function readSecret(
  name: string,
  env: Env,
  readFile: (path: string) => string,
): { text?: string | undefined; fault?: string } {
  const path = env[`${name}_FILE`];
  const given = env[name];
  if (given && path) return { fault: `and ${name}_FILE are both given; keep one` };
  if (!path) return { text: given };
  try {
    const text = readFile(path).replace(/[\r\n]+$/, '');
    return text ? { text } : { fault: `is empty in the file that ${name}_FILE names` };
  } catch (error) {
    return { fault: `cannot be read from the file that ${name}_FILE names${systemCode(error)}` };
  }
}

/** What certificates for ClickHouse need beside each other. */
function certificateFaults(values: Readonly<Record<string, string | number>>): string[] {
  const { clickhouseUrl, clickhouseCaFile, clickhouseCertFile, clickhouseKeyFile } = values;
  const given = clickhouseCaFile || clickhouseCertFile || clickhouseKeyFile;
  return [
    ...(!clickhouseCertFile === !clickhouseKeyFile
      ? []
      : ['CLICKHOUSE_CERT_FILE and CLICKHOUSE_KEY_FILE go together; give both']),
    ...(given && typeof clickhouseUrl === 'string' && !clickhouseUrl.startsWith('https:')
      ? ['CLICKHOUSE_URL must begin with https:// where a file names a certificate']
      : []),
  ];
}

function retentionFaults({ clickhouseRetention, retentionDays }: Readonly<Record<string, string | number>>): string[] {
  if (typeof clickhouseRetention !== 'string' || clickhouseRetention === '') return [];
  const { problems } = readPolicy(clickhouseRetention, outboxKeepsDays(Number(retentionDays ?? 0)));
  return problems.map((problem) => `OUTBOX_CLICKHOUSE_RETENTION: ${problem}`);
}

function unknownNames(env: Env): string[] {
  const names = entries().flatMap(([name, { kind }]) =>
    kind === 'url' || kind === 'secret' ? [name, `${name}_FILE`] : [name],
  );
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
