import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { OutboxError } from '../errors.ts';
import { readConfig, redact } from './config.ts';
import { SETTINGS } from './settings.ts';
import { failure, REQUIRED } from './config.fixture.ts';

/** All that may be printed of an environment: the redacted configuration, or the error. */
function printed(env: Record<string, string | undefined>, readFile?: (path: string) => string): string {
  try {
    return JSON.stringify(redact(readConfig(env, readFile)));
  } catch (error) {
    if (error instanceof OutboxError) return String(error);
    throw error;
  }
}

describe('readConfig with secrets in files', () => {
  const env = { DATABASE_URL_FILE: '/run/secrets/pg', CLICKHOUSE_URL: REQUIRED.CLICKHOUSE_URL };

  test('drops the trailing newline', () => {
    const read = (path: string) => (path === '/run/secrets/pg' ? `${REQUIRED.DATABASE_URL}\r\n` : '');
    expect(readConfig(env, read).databaseUrl).toBe(REQUIRED.DATABASE_URL);
  });

  test('reads the file again whenever the value is asked for, and keeps the last good one', () => {
    let content = REQUIRED.DATABASE_URL;
    const config = readConfig(env, () => {
      if (content === '') throw new Error('away');
      return content;
    });
    content = 'postgres://streamer:other@db.internal/app\n';
    expect(config.databaseUrl).toBe('postgres://streamer:other@db.internal/app');
    for (content of ['', 'half a UR']) expect(config.databaseUrl).toBe('postgres://streamer:other@db.internal/app');
  });

  test('names an unreadable file by its variable and the system’s code only', () => {
    // a user who puts the URL itself into the _FILE variable must not find it in the log
    const { message } = failure({ ...env, DATABASE_URL_FILE: 'postgres://u:canary@h/db' });
    expect(message).toContain('DATABASE_URL cannot be read from the file that DATABASE_URL_FILE names (ENOENT)');
    expect(message).not.toContain('canary');
  });

  test('rejects an empty file, a bad URL in a file, and a variable together with its file', () => {
    expect(failure(env, () => '\n').problems[0]).toMatch(/^DATABASE_URL is empty/);
    expect(failure(env, () => 'canary').problems[0]).toMatch(/^DATABASE_URL must have the form/);
    expect(failure({ ...env, ...REQUIRED }).problems).toEqual([
      'DATABASE_URL and DATABASE_URL_FILE are both given; keep one',
    ]);
  });

  test('knows a _FILE form of secrets only', () => {
    expect(failure({ ...REQUIRED, OUTBOX_SLOT_FILE: '/x' }).problems).toEqual([
      'OUTBOX_SLOT_FILE is unknown; the nearest name is OUTBOX_SLOT',
    ]);
  });
});

test('readConfig rejects a password beside DATABASE_PASSWORD_COMMAND, and never prints the command', () => {
  const command = { DATABASE_PASSWORD_COMMAND: 'cat canary' };
  expect(failure({ ...REQUIRED, ...command }).problems).toEqual([
    'DATABASE_PASSWORD_COMMAND and a password in DATABASE_URL are both given; keep one',
  ]);
  const config = readConfig({ ...REQUIRED, ...command, DATABASE_URL: 'postgres://streamer@h/db' });
  expect(config.databasePasswordCommand).toBe('cat canary');
  expect(redact(config)['databasePasswordCommand']).toBe('***');
});

test('readConfig wants certificates for ClickHouse to be readable, in pairs and with https', () => {
  const read = (path: string): string => {
    if (path === '/pem') return '-----BEGIN CERTIFICATE-----';
    if (path === '/empty') return '\n';
    throw Object.assign(new Error(path), { code: 'ENOENT' });
  };
  const problems = (env: Record<string, string>) => failure({ ...REQUIRED, ...env }, read).problems;
  expect(problems({ CLICKHOUSE_CA_FILE: '/canary' })).toEqual([
    'CLICKHOUSE_CA_FILE names a file that cannot be read (ENOENT)',
  ]);
  // none at all would mean those of Node.js, which sign for anybody
  expect(problems({ CLICKHOUSE_CA_FILE: '/empty' })).toEqual([
    'CLICKHOUSE_CA_FILE names a file that cannot be read (empty)',
  ]);
  expect(problems({ CLICKHOUSE_CERT_FILE: '/pem' })).toEqual([
    'CLICKHOUSE_CERT_FILE and CLICKHOUSE_KEY_FILE go together; give both',
  ]);
  expect(problems({ CLICKHOUSE_CA_FILE: '/pem', CLICKHOUSE_URL: 'http://h' })).toEqual([
    'CLICKHOUSE_URL must begin with https:// where a file names a certificate',
  ]);
});

describe('redact', () => {
  test('keeps user, host, port and database, without the password', () => {
    expect(redact(readConfig(REQUIRED))).toEqual({
      ...readConfig(REQUIRED),
      databaseUrl: 'postgres://streamer@db.internal:5433/app?sslmode=require',
      clickhouseUrl: 'https://writer@ch.internal:8443/analytics',
    });
  });

  test('hides every parameter that is not known to be harmless', () => {
    const DATABASE_URL = 'postgres://u@h/db?password=canary&options=canary&host=h2';
    const { databaseUrl } = redact(readConfig({ ...REQUIRED, DATABASE_URL }));
    expect(databaseUrl).toBe('postgres://u@h/db?password=***&options=***&host=h2');
  });

  test('keeps all hosts', () => {
    const hosts = 'a.internal:5433,[::1],%2Frun%2Fpostgresql';
    const DATABASE_URL = `postgres://localhost:canary@${hosts}/db?target_session_attrs=primary&connect_timeout=2`;
    expect(redact(readConfig({ ...REQUIRED, DATABASE_URL }))['databaseUrl']).toBe(DATABASE_URL.replace(':canary', ''));
  });

  test('never shows a password, and neither does the error of readConfig', () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), (before, after) => {
        for (const hosts of ['h', 'h:5433,h2']) {
          const DATABASE_URL = `postgres://u:${before}canary${after}@${hosts}/db`;
          expect(printed({ ...REQUIRED, DATABASE_URL })).not.toContain('canary');
        }
      }),
      { numRuns: 1000 },
    );
  });
});

test('the error of readConfig repeats no value, whatever variable holds it', () => {
  const names = [...Object.keys(SETTINGS), 'DATABASE_URL_FILE', 'CLICKHOUSE_URL_FILE'];
  const text = fc.string();
  const value = fc.tuple(fc.constantFrom('', 'postgres://u:', 'https://'), text, text);
  const env = fc.dictionary(fc.constantFrom(...names), value);
  fc.assert(
    fc.property(env, text, (values, content) => {
      const given = Object.entries(values).map(([name, [start, before, after]]) => [
        name,
        `${start}${before}canary${after}`,
      ]);
      // one unknown name makes sure that it fails
      const output = printed({ ...Object.fromEntries(given), OUTBOX_UNKNOWN: 'canary' }, () => `canary${content}`);
      expect(output).toContain('OUTBOX_UNKNOWN is unknown');
      expect(output).not.toContain('canary');
    }),
  );
});
