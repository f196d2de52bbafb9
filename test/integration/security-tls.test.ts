import { copyFile } from 'node:fs/promises';
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startPostgres, type EmbeddedPostgres } from '../../src/embedded/postgres.ts';
import { Certificates, hasOpenssl, type Certificate } from '../support/certificates.ts';
import { Outbox } from '../support/outbox.ts';
import { Proxy } from '../support/proxy.ts';
import { TlsTerminator } from '../support/tls.ts';
import { eventually } from '../support/wait.ts';

const HERE = 'IP:127.0.0.1';

let certificates: Certificates;
let authority: Certificate;
let stranger: Certificate;
let good: Certificate;
let bad: Record<string, Certificate>;

beforeAll(async () => {
  if (!hasOpenssl) return;
  certificates = await Certificates.create();
  authority = await certificates.authority('authority');
  stranger = await certificates.authority('stranger');
  good = await certificates.server('good', authority, HERE);
  bad = {
    UNABLE_TO_VERIFY_LEAF_SIGNATURE: await certificates.server('unknown', stranger, HERE),
    ERR_TLS_CERT_ALTNAME_INVALID: await certificates.server('elsewhere', authority, 'DNS:elsewhere.example'),
    CERT_HAS_EXPIRED: await certificates.server('expired', authority, HERE, -1),
  };
});

afterAll(async () => certificates?.[Symbol.asyncDispose]());

const FAULTS = ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'ERR_TLS_CERT_ALTNAME_INVALID', 'CERT_HAS_EXPIRED'];

describe.skipIf(!hasOpenssl)('Postgres over TLS (needs openssl to make certificates)', () => {
  let postgres: EmbeddedPostgres;
  let outbox: Outbox;
  let proxy: Proxy;
  let proxied: string;

  beforeAll(async () => {
    postgres = await startPostgres({
      settings: { ssl: 'on', ssl_cert_file: good.cert, ssl_key_file: good.key, ssl_ca_file: authority.cert },
    });
    outbox = await Outbox.create({ postgresUrl: postgres.url });
    ({ proxy, url: proxied } = await Proxy.to(new URL(outbox.databaseUrl)));
  });

  afterAll(async () => {
    await outbox?.[Symbol.asyncDispose]();
    await proxy?.close();
    await postgres?.dispose();
  });

  const url = (parameters: Record<string, string>): string =>
    `${proxied}?${new URLSearchParams(parameters).toString()}`;

  /** Returns when new connections find the changed configuration. */
  async function reload(): Promise<void> {
    const loadedAt = async (): Promise<string> => {
      const client = new Client(outbox.databaseUrl);
      await client.connect();
      const { rows } = await client.query('SELECT pg_conf_load_time()::text AS at');
      await client.end();
      return rows[0].at;
    };
    const before = await loadedAt();
    await outbox.postgres.query('SELECT pg_reload_conf()');
    await eventually('the configuration is loaded', async () => (await loadedAt()) !== before);
  }

  /** Gives the server this certificate, for connections from now on. */
  async function present({ cert, key }: Certificate): Promise<void> {
    await outbox.postgres.query(`ALTER SYSTEM SET ssl_cert_file = '${cert}'`);
    await outbox.postgres.query(`ALTER SYSTEM SET ssl_key_file = '${key}'`);
    await reload();
  }

  test('the streamer encrypts both of its connections with sslmode=verify-full and the right authority, and shows its own certificate', async () => {
    const client = await certificates.client('streamer', authority);
    const files = { sslrootcert: authority.cert, sslcert: client.cert, sslkey: client.key };
    const streamer = outbox.stream({ DATABASE_URL: url({ sslmode: 'verify-full', ...files }) });
    await streamer.attached();
    const { rows } = await outbox.postgres.query(
      "SELECT s.ssl, client_dn AS client, backend_type FROM pg_stat_ssl s JOIN pg_stat_activity USING (pid) WHERE application_name LIKE 'pg-outbox-clickhouse%' ORDER BY 3",
    );
    expect(rows).toEqual([
      { ssl: true, client: '/CN=streamer', backend_type: 'client backend' },
      { ssl: true, client: '/CN=streamer', backend_type: 'walsender' },
    ]);
    // more than one read or one TLS record holds
    await outbox.postgres.query(
      "INSERT INTO outbox.event (event_type, event_context) SELECT 'tls', json_build_object('n', n, 'pad', repeat('x', n * 50)) FROM generate_series(1, 500) n",
    );
    await outbox.untilDelivered(500);
    expect(await streamer.stop()).toBe(0);
    const { rows: sums } = await outbox.postgres.query(
      'SELECT sum(length(event_context::text))::int AS bytes FROM outbox.event',
    );
    expect(await outbox.select('SELECT sum(length(event_context_text)) AS bytes FROM events')).toEqual(sums);
  });

  test('of several hosts each must have a certificate of its own name', async () => {
    const { host, port } = new URL(outbox.databaseUrl);
    const parameters = `sslmode=verify-full&sslrootcert=${encodeURIComponent(authority.cert)}`;
    const at = (hosts: string): string => `${outbox.databaseUrl.replace(`@${host}/`, `@${hosts}/`)}?${parameters}`;
    const streamer = outbox.stream({ DATABASE_URL: at(`localhost:${port},${host}`) });
    await streamer.attached();
    expect(await streamer.stop()).toBe(0);
    const misnamed = outbox.stream({ DATABASE_URL: at(`localhost:${port},localhost:1`) });
    const { err } = await misnamed.failure('OUTBOX_PG_UNREACHABLE');
    expect(err?.problems).toEqual([
      expect.stringMatching(/^localhost:\d+: .*ERR_TLS_CERT_ALTNAME_INVALID/),
      'localhost:1: no connection to Postgres: ECONNREFUSED',
    ]);
    await misnamed.kill();
  });

  test.for(FAULTS)('the streamer rejects a certificate with %s and sends no login unencrypted', async (reason) => {
    await present(bad[reason]!);
    const said: string[] = [];
    proxy.answers = (chunk, requests) => {
      said.push(requests);
      return chunk;
    };
    try {
      // as in libpq, what has an authority verifies it, and only verify-full looks at the name
      const modes = /name|altnames/i.test(reason) ? ['verify-full'] : ['verify-full', 'verify-ca', 'require'];
      for (const sslmode of modes) {
        const streamer = outbox.stream({ DATABASE_URL: url({ sslmode, sslrootcert: authority.cert }) });
        const { err } = await streamer.failure('OUTBOX_PG_UNREACHABLE');
        expect(err?.message).toContain(reason);
        await streamer.kill();
      }
      expect(said.length).toBeGreaterThan(0);
      for (const requests of said) expect(requests).not.toContain('user\0');
    } finally {
      proxy.answers = undefined;
      await present(good);
    }
  });

  test('the streamer rejects a server without TLS and sends no login unencrypted', async () => {
    await outbox.postgres.query('ALTER SYSTEM SET ssl = off');
    await reload();
    const said: string[] = [];
    proxy.answers = (chunk, requests) => {
      said.push(requests);
      return chunk;
    };
    try {
      const streamer = outbox.stream({ DATABASE_URL: url({ sslmode: 'verify-full', sslrootcert: authority.cert }) });
      const { err } = await streamer.failure('OUTBOX_PG_UNREACHABLE');
      expect(err?.message).toContain('does not support SSL');
      await streamer.kill();
      expect(said.length).toBeGreaterThan(0);
      for (const requests of said) expect(requests).not.toContain('user\0');
    } finally {
      proxy.answers = undefined;
      await outbox.postgres.query('ALTER SYSTEM SET ssl = on');
      await reload();
    }
  });

  test('the streamer exits with code 2 when it cannot read sslrootcert, and does not print the path', async () => {
    const streamer = outbox.stream({
      DATABASE_URL: url({ sslmode: 'verify-full', sslrootcert: '/nowhere/canary-ca.pem' }),
    });
    expect(await streamer.exited()).toBe(2);
    expect(streamer.output).toContain('DATABASE_URL names an sslrootcert that cannot be read (ENOENT)');
    expect(streamer.output).not.toContain('canary');
  });
});

describe.skipIf(!hasOpenssl)('ClickHouse over TLS (needs openssl to make certificates)', () => {
  test('the streamer trusts the authority that NODE_EXTRA_CA_CERTS names', async () => {
    await using outbox = await Outbox.create();
    await using terminator = await TlsTerminator.to(new URL(outbox.clickhouseUrl), good);
    const streamer = outbox.stream({
      CLICKHOUSE_URL: terminator.url(outbox.clickhouseUrl),
      NODE_EXTRA_CA_CERTS: authority.cert,
    });
    await streamer.attached();
    await outbox.fill(1000);
    await outbox.untilDelivered(1000);
    expect(await streamer.stop()).toBe(0);
    expect(await outbox.delivered()).toEqual({ rows: 1000, events: 1000 });
  });

  test('the streamer trusts CLICKHOUSE_CA_FILE, shows a certificate, and uses one that replaces it without a restart', async () => {
    await using outbox = await Outbox.create();
    await using terminator = await TlsTerminator.to(new URL(outbox.clickhouseUrl), good, authority);
    const [foreign, own] = [
      await certificates.client('foreign', stranger),
      await certificates.client('own', authority),
    ];
    const streamer = outbox.stream({
      CLICKHOUSE_URL: terminator.url(outbox.clickhouseUrl),
      CLICKHOUSE_CA_FILE: authority.cert,
      CLICKHOUSE_CERT_FILE: foreign.cert,
      CLICKHOUSE_KEY_FILE: foreign.key,
    });
    await outbox.fill(10);
    await streamer.failure('OUTBOX_CH_UNREACHABLE');
    await copyFile(own.cert, foreign.cert);
    await copyFile(own.key, foreign.key);
    await outbox.untilDelivered(10);
    expect(await streamer.stop()).toBe(0);
  });

  test.for(FAULTS)('the streamer rejects a certificate with %s and names that error', async (reason) => {
    await using outbox = await Outbox.create();
    await using terminator = await TlsTerminator.to(new URL(outbox.clickhouseUrl), bad[reason]!);
    const streamer = outbox.stream({
      CLICKHOUSE_URL: terminator.url(outbox.clickhouseUrl),
      NODE_EXTRA_CA_CERTS: authority.cert,
    });
    const { err } = await streamer.failure('OUTBOX_CH_UNREACHABLE');
    expect(err?.message).toContain(reason);
  });
});
