import type { Setting } from './setting.ts';

/** How both databases are reached. */
export const CONNECTION_SETTINGS = {
  DATABASE_URL: {
    key: 'databaseUrl',
    readBy: 'streamer',
    kind: 'url',
    protocols: ['postgres:', 'postgresql:'],
    parameters: true,
    database: true,
    example: 'postgres://outbox_streamer:password@localhost:5432/app',
    meaning:
      'The Postgres database that holds the outbox, and a role with REPLICATION. It may name several hosts, `host1:5432,host2:5432`: the primary among them is used. A Unix socket is a percent-encoded host: `%2Fvar%2Frun%2Fpostgresql`.',
  },
  DATABASE_PASSWORD_COMMAND: {
    key: 'databasePasswordCommand',
    readBy: 'streamer',
    kind: 'text',
    default: '',
    isSecret: true,
    pattern: /^[^\0]+$/,
    form: 'a command of /bin/sh',
    meaning:
      'A command that prints the password of DATABASE_URL, which then has none: for tokens that expire, such as those of IAM. It runs for each new connection whose server asks for a password, for at most `connect_timeout` (10 s). Its output is never logged.',
  },
  CLICKHOUSE_URL: {
    key: 'clickhouseUrl',
    readBy: 'streamer',
    kind: 'url',
    protocols: ['http:', 'https:'],
    parameters: false,
    database: false,
    example: 'http://outbox:password@localhost:8123/analytics',
    meaning:
      'The ClickHouse server, by its HTTP port, with the database as path. It may name the replicas of one shard, `host1:8123,host2:8123`: the first is used until it is away. It takes no parameters: every setting that matters is sent with each insert. Without a user, `default` is meant; without a database, too.',
  },
  CLICKHOUSE_CA_FILE: {
    key: 'clickhouseCaFile',
    readBy: 'streamer',
    kind: 'file',
    default: '',
    meaning:
      'The authorities, in PEM, that may have signed the certificate of ClickHouse, instead of those of Node.js. Only with `https`.',
  },
  CLICKHOUSE_CERT_FILE: {
    key: 'clickhouseCertFile',
    readBy: 'streamer',
    kind: 'file',
    default: '',
    meaning:
      'A client’s certificate for ClickHouse, in PEM, with CLICKHOUSE_KEY_FILE. When CLICKHOUSE_URL has no password, it is the login: the user is one that ClickHouse identifies by `ssl_certificate`.',
  },
  CLICKHOUSE_KEY_FILE: {
    key: 'clickhouseKeyFile',
    readBy: 'streamer',
    kind: 'file',
    default: '',
    meaning: 'The private key of CLICKHOUSE_CERT_FILE, in PEM, without a passphrase.',
  },
} as const satisfies Record<string, Setting>;
