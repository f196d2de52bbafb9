import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { OutboxError } from '../errors.ts';
import { readConfig, redact } from './config.ts';
import { SETTINGS } from './settings.ts';

const REQUIRED = {
  DATABASE_URL: 'postgres://streamer:s3cret@db.internal:5433/app?sslmode=require',
  CLICKHOUSE_URL: 'https://writer:s3cret@ch.internal:8443/analytics',
};

function failure(env: Record<string, string | undefined>, readFile?: (path: string) => string): OutboxError {
  try {
    readConfig(env, readFile);
  } catch (error) {
    if (error instanceof OutboxError) return error;
    throw error;
  }
  throw new Error('the configuration was accepted');
}

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
