import * as fc from 'fast-check';
import { describe, expect, expectTypeOf, test } from 'vitest';
import { type Config, readConfig } from './config.ts';
import { SETTINGS } from './settings.ts';
import { failure, problems, REQUIRED } from './config.fixture.ts';

describe('readConfig with a good environment', () => {
  test('needs the two URLs alone, and has defaults for the rest', () => {
    expect(readConfig(REQUIRED)).toEqual({
      databaseUrl: REQUIRED.DATABASE_URL,
      databasePasswordCommand: '',
      clickhouseUrl: REQUIRED.CLICKHOUSE_URL,
      clickhouseCaFile: '',
      clickhouseCertFile: '',
      clickhouseKeyFile: '',
      schema: 'outbox',
      slot: 'outbox',
      shard: '',
      slotFailover: 'off',
      clickhouseTable: 'events',
      clickhouseCluster: '',
      clickhouseIdling: 'auto',
      clickhouseRetention: '',
      clickhouseCompression: 'off',
      insertQuorum: 'off',
      batchMaxRows: 200_000,
      batchMaxBytes: 67_108_864,
      flushIntervalMs: 1000,
      insertTimeoutMs: 60_000,
      quarantineMaxRows: 1000,
      retryMaxMs: 10_000,
      retentionDays: 7,
      manifests: 'off',
      manifestKeyFile: '',
      shutdownTimeoutMs: 25_000,
      healthPort: 8080,
      healthHost: '*',
      readyMaxLagMs: 900_000,
      traceDeliverSpans: 32,
      logLevel: 'info',
    });
  });

  test('returns a frozen Config, typed from SETTINGS', () => {
    const config = readConfig(REQUIRED);
    expect(Object.isFrozen(config)).toBe(true);
    expectTypeOf(config).toEqualTypeOf<Config>();
    expectTypeOf(config.batchMaxRows).toEqualTypeOf<number>();
    expectTypeOf(config.slot).toEqualTypeOf<string>();
    expectTypeOf(config.logLevel).toEqualTypeOf<'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'silent'>();
    expectTypeOf<Config>().not.toHaveProperty('environment');
  });

  test('names the slot after the schema, unless it has a name of its own', () => {
    const OUTBOX_SCHEMA = 'billing';
    expect(readConfig({ ...REQUIRED, OUTBOX_SCHEMA })).toMatchObject({ schema: 'billing', slot: 'billing' });
    expect(readConfig({ ...REQUIRED, OUTBOX_SCHEMA, OUTBOX_SHARD: '1/2' }).slot).toBe('billing_1_of_2');
    expect(readConfig({ ...REQUIRED, OUTBOX_SCHEMA, OUTBOX_SLOT: 'outbox' }).slot).toBe('outbox');
  });

  test.each(['Billing', 'pg_billing', 'billing_1_of_2', 'b"'])('refuses the schema %s without repeating it', (name) => {
    const [problem, ...others] = problems({ OUTBOX_SCHEMA: name });
    expect(others).toEqual([]);
    expect(problem).toMatch(/^OUTBOX_SCHEMA must be 1 to 54 of a-z/);
    expect(problem).not.toContain(name);
  });

  test('treats an empty string as not set', () => {
    const env = { ...REQUIRED, OUTBOX_SLOT: '', LOG_LEVEL: '', DATABASE_URL_FILE: '', OUTBOX_SLOTT: '' };
    expect(readConfig(env)).toEqual(readConfig(REQUIRED));
  });

  test('ignores variables of others, of the library, of the tests and of Kubernetes', () => {
    const others = {
      PATH: '/bin',
      OTEL_SERVICE_NAME: 'orders',
      OUTBOX_ENVIRONMENT: 'production',
      OUTBOX_MAX_EVENT_BYTES: '1024',
      OUTBOX_TEST_SERVICES: 'containers',
      OUTBOX_SERVICE_HOST: '10.0.0.1',
      OUTBOX_SERVICE_PORT_HTTP: '80',
      OUTBOX_PORT: 'tcp://10.0.0.1:80',
      OUTBOX_PORT_80_TCP_ADDR: '10.0.0.1',
    };
    expect(readConfig({ ...REQUIRED, ...others })).toEqual(readConfig(REQUIRED));
  });

  test('accepts every default as a value of its setting', () => {
    const given = Object.entries(SETTINGS).flatMap(([name, setting]) =>
      setting.kind === 'url' || setting.readBy !== 'streamer' ? [] : [[name, String(setting.default)]],
    );
    expect(readConfig({ ...REQUIRED, ...Object.fromEntries(given) })).toEqual(readConfig(REQUIRED));
  });

  test('accepts the examples in SETTINGS', () => {
    const { DATABASE_URL, CLICKHOUSE_URL } = SETTINGS;
    const config = readConfig({ DATABASE_URL: DATABASE_URL.example, CLICKHOUSE_URL: CLICKHOUSE_URL.example });
    expect(config.databaseUrl).toBe(DATABASE_URL.example);
  });

  test.each(['postgresql://u@h/db', 'postgres://u:p%40%2F@[::1]:5432/db', 'postgres://u@%2Frun%2Fpostgresql/db'])(
    'accepts %s',
    (DATABASE_URL) => {
      expect(readConfig({ ...REQUIRED, DATABASE_URL }).databaseUrl).toBe(DATABASE_URL);
    },
  );

  test('takes any whole number within its limits as it is', () => {
    const { min, max } = SETTINGS.OUTBOX_BATCH_MAX_BYTES;
    fc.assert(
      fc.property(fc.integer({ min, max }), (bytes) => {
        expect(readConfig({ ...REQUIRED, OUTBOX_BATCH_MAX_BYTES: String(bytes) }).batchMaxBytes).toBe(bytes);
      }),
    );
  });
});

describe('readConfig with a bad environment', () => {
  test('reports all problems together', () => {
    const error = failure({
      CLICKHOUSE_URL: 'tcp://u:p@h:9000/db',
      OUTBOX_BATCH_MAX_ROWS: 'many',
      OUTBOX_FLUSH_INTERVAL_MS: '9',
      LOG_LEVEL: 'verbose',
      OUTBOX_FLUSH_INTERVALL_MS: '1000',
    });
    expect(error.code).toBe('OUTBOX_CONFIG_INVALID');
    expect(error.problems).toEqual([
      'DATABASE_URL is missing; give it, or a file that holds it as DATABASE_URL_FILE',
      'CLICKHOUSE_URL must have the form http:// or https://user:password@host:port/database',
      'OUTBOX_BATCH_MAX_ROWS must be a whole number from 1 to 200000 (rows)',
      'OUTBOX_FLUSH_INTERVAL_MS must be a whole number from 10 to 60000 (ms)',
      'LOG_LEVEL must be one of trace, debug, info, warn, error, fatal, silent',
      'OUTBOX_FLUSH_INTERVALL_MS is unknown; the nearest name is OUTBOX_FLUSH_INTERVAL_MS',
    ]);
  });

  test.each(['0', '200001', '-1', '1.5', '1e3', '0x10', ' 5', '5 rows', '9'.repeat(400)])(
    'rejects %j as a number of rows',
    (value) => {
      expect(problems({ OUTBOX_BATCH_MAX_ROWS: value })).toHaveLength(1);
    },
  );

  test('puts the share into the name of the slot', () => {
    expect(readConfig({ ...REQUIRED, OUTBOX_SHARD: '2/16' })).toMatchObject({ slot: 'outbox_2_of_16', shard: '2/16' });
    expect(readConfig({ ...REQUIRED, OUTBOX_SLOT: 'a', OUTBOX_SHARD: '2/2' }).slot).toBe('a_2_of_2');
  });

  test.each(['1/1', '0/2', '3/2', '1/17', '2', '1/2/3', ' 1/2'])('rejects %j as a share', (OUTBOX_SHARD) => {
    expect(problems({ OUTBOX_SHARD })).toEqual([expect.stringMatching(/^OUTBOX_SHARD must be k\/n/)]);
  });

  test('rejects the slot of a share as OUTBOX_SLOT, and a name that is too long with a share', () => {
    expect(problems({ OUTBOX_SLOT: 'a_1_of_2' })).toEqual([expect.stringContaining('set OUTBOX_SHARD')]);
    expect(problems({ OUTBOX_SLOT: 'x'.repeat(57), OUTBOX_SHARD: '1/2' })).toEqual([
      expect.stringContaining('too long'),
    ]);
  });

  test.each(['Outbox', 'a-b', 'x'.repeat(64), 'a\n'])('rejects %j as a slot name', (OUTBOX_SLOT) => {
    expect(problems({ OUTBOX_SLOT })).toEqual(['OUTBOX_SLOT must be 1 to 63 of a-z, 0-9 and _']);
  });

  test.each([
    'mysql://u:canary@h/db',
    'postgres://u:canary@h',
    'postgres://u:canary@h/a/b',
    'postgres:///db',
    'postgres://u:canary @h/db',
    'canary',
  ])('rejects %s as DATABASE_URL', (DATABASE_URL) => {
    const [problem, ...more] = problems({ DATABASE_URL });
    expect(problem).toMatch(/^DATABASE_URL must have the form postgres:\/\//);
    expect(problem).not.toContain('canary');
    expect(more).toEqual([]);
  });

  // each character cuts the URL at another place, and a piece of the password becomes a port, a path or a parameter
  test.each([
    'postgres://u:12#canary@h/db',
    'postgres://u:12/canary@h/db',
    'postgres://u:12?canary@h/db',
    'postgres://u:canary/x@h/db',
    'postgres://u:100%canary@h/db',
    'postgres://u@corp:12/canary@h',
    'postgres://u@corp/12?canary@h/db',
    'postgres://u@corp/12#canary@h/db',
  ])('rejects %s and asks to percent-encode the password', (DATABASE_URL) => {
    const [problem, ...more] = problems({ DATABASE_URL });
    expect(problem).toMatch(/^DATABASE_URL must have the form .*; percent-encode/);
    expect(problem).not.toContain('canary');
    expect(more).toEqual([]);
  });

  test('rejects parameters in CLICKHOUSE_URL, which could switch deduplication off', () => {
    const CLICKHOUSE_URL = `${REQUIRED.CLICKHOUSE_URL}?ch_insert_deduplicate=0`;
    expect(problems({ CLICKHOUSE_URL })[0]).toMatch(/without parameters$/);
  });

  test('rejects a batch that the largest event does not fit', () => {
    const expected = ['OUTBOX_BATCH_MAX_BYTES must not be below OUTBOX_MAX_EVENT_BYTES'];
    expect(problems({ OUTBOX_BATCH_MAX_BYTES: '65536', OUTBOX_MAX_EVENT_BYTES: '65537' })).toEqual(expected);
    expect(problems({ OUTBOX_MAX_EVENT_BYTES: '67108865' })).toEqual(expected);
  });

  test('rejects a quorum of one, and one without a cluster whose replicas can be asked', () => {
    const cluster = { OUTBOX_CLICKHOUSE_CLUSTER: 'events' };
    expect(problems({ OUTBOX_INSERT_QUORUM: '1', ...cluster })).toHaveLength(1);
    expect(problems({ OUTBOX_INSERT_QUORUM: 'auto' })).toEqual([
      'OUTBOX_INSERT_QUORUM needs OUTBOX_CLICKHOUSE_CLUSTER, by which the replicas are asked what they have',
    ]);
    expect(readConfig({ ...REQUIRED, OUTBOX_INSERT_QUORUM: '3', ...cluster })).toMatchObject({ insertQuorum: '3' });
  });

  test.each([
    ['OUTBOX_BATCH_ROWS', 'OUTBOX_BATCH_MAX_ROWS'],
    ['OUTBOX_RETRY_MAX', 'OUTBOX_RETRY_MAX_MS'],
    ['OUTBOX_TABLE', 'OUTBOX_SLOT'],
    ['OUTBOX_LOG_LEVEL', 'LOG_LEVEL'],
    ['OUTBOX_CLICKHOUSE_URL', 'CLICKHOUSE_URL'],
    ['OUTBOX_DATABASE_URL_FILE', 'DATABASE_URL_FILE'],
    ['OUTBOX_METRICS_PORT', undefined],
  ])('rejects %s as unknown, and names the nearest setting', (name, nearest) => {
    const [problem] = problems({ [name]: '9464' });
    expect(problem).toContain(`${name} is unknown; the nearest name is ${nearest ?? ''}`);
  });
});
