import { DEFAULT_SCHEMA, SCHEMA_FORM, SCHEMA_PATTERN } from '../schema-name.ts';
import { CONNECTION_SETTINGS } from './connection-settings.ts';
import { CONSOLE_SETTINGS } from './console-settings.ts';
import type { Setting } from './setting.ts';

export type { Setting };

/** Links of one span, and so requests of a batch that its trace can name: more would cost collectors more than they tell. */
export const MAX_TRACE_LINKS = 512;

/** Every setting there is. The parser (config.ts), docs/configuration.md and .env.example all come from this table. */
export const SETTINGS = {
  ...CONNECTION_SETTINGS,
  OUTBOX_SCHEMA: {
    key: 'schema',
    readBy: 'streamer',
    kind: 'text',
    default: DEFAULT_SCHEMA,
    pattern: SCHEMA_PATTERN,
    form: SCHEMA_FORM,
    meaning:
      'The schema of the outbox, for several in one database; the library reads it, too. Its publications have its name, and its slot where OUTBOX_SLOT gives none. docs/operations.md tells the way.',
  },
  OUTBOX_SLOT: {
    key: 'slot',
    readBy: 'streamer',
    kind: 'text',
    default: DEFAULT_SCHEMA,
    pattern: /^[a-z0-9_]{1,63}$/,
    form: '1 to 63 of a-z, 0-9 and _',
    meaning:
      'The replication slot, and the name of its row in the ledger; OUTBOX_SCHEMA where none is given. Unique in the whole Postgres cluster.',
  },
  OUTBOX_SHARD: {
    key: 'shard',
    readBy: 'streamer',
    kind: 'text',
    default: '',
    pattern: /^(?:[1-9]|1[0-6])\/(?:[2-9]|1[0-6])$/,
    form: 'k/n: the number of the share, and how many there are, 2 to 16',
    meaning:
      'Which share of the events this streamer delivers, such as `1/4`: its slot is OUTBOX_SLOT with `_1_of_4` behind it. Each share has a streamer and a CLICKHOUSE_URL of its own. Empty: all events. docs/clusters.md tells the way.',
  },
  OUTBOX_SLOT_FAILOVER: {
    key: 'slotFailover',
    readBy: 'streamer',
    kind: 'choice',
    choices: ['off', 'on'],
    default: 'off',
    meaning:
      'Whether `migrate` and `repair` make the slot as one that standbys synchronise (Postgres 17 and newer). docs/failover.md says what the standby needs.',
  },
  OUTBOX_CLICKHOUSE_TABLE: {
    key: 'clickhouseTable',
    readBy: 'streamer',
    kind: 'text',
    default: 'events',
    pattern: /^[A-Za-z_][A-Za-z0-9_]{0,127}$/,
    form: '1 to 128 of A-Z, a-z, 0-9 and _, not beginning with a digit',
    meaning: 'The table that receives the events, in the database of CLICKHOUSE_URL.',
  },
  OUTBOX_CLICKHOUSE_CLUSTER: {
    key: 'clickhouseCluster',
    readBy: 'streamer',
    kind: 'text',
    default: '',
    pattern: /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/,
    form: 'the name of a cluster: 1 to 128 of A-Z, a-z, 0-9, _, . and -',
    meaning:
      'The ClickHouse cluster on which `migrate` makes the table, replicated. Empty: on the one server of CLICKHOUSE_URL. docs/clusters.md tells the way.',
  },
  OUTBOX_CLICKHOUSE_RETENTION: {
    key: 'clickhouseRetention',
    readBy: 'streamer',
    kind: 'text',
    default: '',
    pattern: /^/,
    form: 'rules such as environment=staging:30d, type=debug.*:14d, default:2y',
    meaning:
      'How long ClickHouse keeps events, by type, environment and subject: `migrate` makes the TTL of the table from it. The first rule that an event fits counts; `forever` goes before all others. Empty: no TTL is made or changed. docs/operations.md says more.',
  },
  OUTBOX_CLICKHOUSE_IDLING: {
    key: 'clickhouseIdling',
    readBy: 'streamer',
    kind: 'choice',
    choices: ['auto', 'on', 'off'],
    default: 'auto',
    meaning:
      'Whether ClickHouse is a service that idles when nobody asks it, as those of ClickHouse Cloud may: with nothing waiting it is asked once an hour, and has a minute to wake. `auto` means hosts under `clickhouse.cloud`. docs/operations.md says what changes.',
  },
  OUTBOX_CLICKHOUSE_COMPRESSION: {
    key: 'clickhouseCompression',
    readBy: 'streamer',
    kind: 'choice',
    choices: ['off', 'zstd'],
    default: 'off',
    meaning:
      'Whether inserts are compressed on the way to ClickHouse. `zstd` is for a slow or paid network; it costs the streamer CPU. docs/operations.md has figures.',
  },
  OUTBOX_INSERT_QUORUM: {
    key: 'insertQuorum',
    readBy: 'streamer',
    kind: 'text',
    default: 'off',
    pattern: /^(?:off|auto|[2-9]|[1-9]\d)$/,
    form: 'off, auto, or a number from 2 to 99',
    meaning:
      'How many replicas must have an insert before it counts as delivered; `auto` is the majority. Off: one, and a disk that is lost may take its last events along. Needs OUTBOX_CLICKHOUSE_CLUSTER. docs/clusters.md says what it costs.',
  },
  OUTBOX_BATCH_MAX_ROWS: {
    key: 'batchMaxRows',
    readBy: 'streamer',
    kind: 'integer',
    unit: 'rows',
    default: 200_000,
    min: 1,
    max: 200_000,
    meaning:
      'Most rows in a batch, and so in one insert; the first batches of a session are smaller. One insert is one block in ClickHouse, which is why there is an upper limit.',
  },
  OUTBOX_BATCH_MAX_BYTES: {
    key: 'batchMaxBytes',
    readBy: 'streamer',
    kind: 'integer',
    unit: 'bytes',
    default: 64 * 1024 * 1024,
    min: 64 * 1024,
    max: 64 * 1024 * 1024,
    meaning:
      'Most bytes in a batch, and so in one insert. Memory is about twice that: one batch in flight and one filling. Not below OUTBOX_MAX_EVENT_BYTES where that is given.',
  },
  OUTBOX_FLUSH_INTERVAL_MS: {
    key: 'flushIntervalMs',
    readBy: 'streamer',
    kind: 'integer',
    unit: 'ms',
    default: 1000,
    min: 10,
    max: 60_000,
    meaning:
      'The least time between two inserts, unless a batch is full. Events that come after a quiet moment go out at once; others wait so long at most.',
  },
  OUTBOX_INSERT_TIMEOUT_MS: {
    key: 'insertTimeoutMs',
    readBy: 'streamer',
    kind: 'integer',
    unit: 'ms',
    default: 60_000,
    min: 1000,
    max: 600_000,
    meaning: 'Longest life of one attempt to insert. The same insert is then repeated.',
  },
  OUTBOX_QUARANTINE_MAX_ROWS: {
    key: 'quarantineMaxRows',
    readBy: 'streamer',
    kind: 'integer',
    unit: 'rows',
    default: 1000,
    min: 0,
    max: 1_000_000,
    meaning:
      'Most events in quarantine. When ClickHouse refuses more, the table is probably at fault and not the events: the stream waits until it is fixed. 0 quarantines nothing.',
  },
  OUTBOX_RETRY_MAX_MS: {
    key: 'retryMaxMs',
    readBy: 'streamer',
    kind: 'integer',
    unit: 'ms',
    default: 10_000,
    min: 100,
    max: 300_000,
    meaning: 'Longest pause between two attempts, to connect or to insert. Pauses double up to it.',
  },
  OUTBOX_RETENTION_DAYS: {
    key: 'retentionDays',
    readBy: 'streamer',
    kind: 'integer',
    unit: 'days',
    default: 7,
    min: 0,
    // a bucket is used again after 32 days, and holds the rows of a whole one
    max: 30,
    meaning:
      'How long outbox.event keeps delivered events, for `verify` and `repair`; a day longer at most. Nothing is removed that is not delivered. 0 removes nothing.',
  },
  OUTBOX_MANIFESTS: {
    key: 'manifests',
    readBy: 'streamer',
    kind: 'choice',
    choices: ['off', 'on'],
    default: 'off',
    meaning:
      'Whether the streamer writes a manifest of each hour, by which `verify --manifests` shows years later that nothing was changed. Retention then keeps what has none. docs/auditors.md tells the way.',
  },
  OUTBOX_MANIFEST_KEY_FILE: {
    key: 'manifestKeyFile',
    readBy: 'streamer',
    kind: 'file',
    default: '',
    meaning:
      'The private Ed25519 key, in PEM, that signs manifests. Keep it on the streamer’s host alone; keep the public keys of former ones for `verify --manifests --keys`. It is read again for each run.',
  },
  OUTBOX_SHUTDOWN_TIMEOUT_MS: {
    key: 'shutdownTimeoutMs',
    readBy: 'streamer',
    kind: 'integer',
    unit: 'ms',
    default: 25_000,
    min: 1000,
    max: 600_000,
    meaning:
      'How long a graceful stop may take. Keep it below the grace period of the supervisor (Kubernetes gives 30 s).',
  },
  OUTBOX_HEALTH_PORT: {
    key: 'healthPort',
    readBy: 'streamer',
    kind: 'integer',
    unit: 'port',
    default: 8080,
    min: 0,
    max: 65_535,
    meaning:
      'Where `/livez`, `/readyz` and `/metrics` are served, and where `healthcheck` asks. 0 serves nothing, and `healthcheck` is content with that.',
  },
  OUTBOX_HEALTH_HOST: {
    key: 'healthHost',
    readBy: 'streamer',
    kind: 'text',
    default: '*',
    pattern: /^(?:\*|[0-9a-fA-F.:]{2,45})$/,
    form: 'an IP address of this host, or *',
    meaning:
      'The address on which health is served; `*` is all of them. Set it where others can reach this host. On a loopback address, a request under another name than `localhost` or a loopback address is refused (421): a web page could have sent it.',
  },
  OUTBOX_READY_MAX_LAG_MS: {
    key: 'readyMaxLagMs',
    readBy: 'streamer',
    kind: 'integer',
    unit: 'ms',
    default: 15 * 60_000,
    min: 0,
    max: 7 * 24 * 3_600_000,
    meaning: '`/readyz` and `status` say that events are late when the oldest that waits is older. 0 for never.',
  },
  OUTBOX_TRACE_DELIVER_SPANS: {
    key: 'traceDeliverSpans',
    readBy: 'streamer',
    kind: 'integer',
    unit: 'spans',
    default: 32,
    min: 0,
    max: MAX_TRACE_LINKS,
    meaning:
      'Most requests of a batch whose traces show the delivery, as a span `deliver` below the one that sent the events. Only sampled ones, and only where the streamer sends traces.',
  },
  LOG_LEVEL: {
    key: 'logLevel',
    readBy: 'streamer',
    kind: 'choice',
    choices: ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'],
    default: 'info',
    meaning: 'The least severe level that is logged.',
  },
  ...CONSOLE_SETTINGS,
  OUTBOX_ENVIRONMENT: {
    key: 'environment',
    readBy: 'library',
    kind: 'text',
    default: '',
    pattern: /^/,
    form: 'at most 65535 bytes of UTF-8',
    meaning:
      'The environment of events that do not name their own, such as `production`; that of `createOutbox` goes before it.',
  },
  OUTBOX_MAX_EVENT_BYTES: {
    key: 'maxEventBytes',
    readBy: 'library',
    kind: 'integer',
    unit: 'bytes',
    default: 16 * 1024 * 1024,
    min: 1,
    max: 64 * 1024 * 1024,
    meaning: 'Largest context of one event, as JSON text. A larger one is refused before any SQL.',
  },
} as const satisfies Record<string, Setting>;

type Table = typeof SETTINGS;
type ValueOf<S> = S extends { kind: 'integer' } ? number : S extends { choices: readonly (infer C)[] } ? C : string;

type ReadBy<Reader> = {
  readonly [Name in keyof Table as Table[Name]['readBy'] extends Reader ? Table[Name]['key'] : never]: ValueOf<
    Table[Name]
  >;
};

/** What the streamer runs with: the streamer's settings, under their keys in the table. Frozen. */
export type Config = ReadBy<'streamer'>;

/** The console's own settings; it runs with those of `Config`, too. Frozen. */
export type ConsoleConfig = ReadBy<'console'>;
