import type { Entries } from './entry.ts';

/** The process: its settings, its commands, and the services that it brings with it. */
export const PROCESS = {
  // settings
  OUTBOX_CONFIG_INVALID: {
    policy: 'stop',
    happened: 'The environment holds settings that are missing, wrong or unknown. Nothing was started.',
    next: 'Fix every setting named in `problems`; docs/configuration.md lists them all.',
  },

  // comparing and repairing
  OUTBOX_NODE_VERSION: {
    policy: 'stop',
    happened: 'This version of Node.js is too old.',
    next: 'Run the streamer with Node.js 22.15 or newer; the container image brings its own.',
  },
  OUTBOX_OUTPUT_FAILED: {
    policy: 'stop',
    happened: 'What the command had to say could not be written to stdout.',
    next: 'Make room, or have stdout go elsewhere. What the command was to do is done or not as without it: look at `pg-outbox-clickhouse status`, or run it again.',
  },
  OUTBOX_REPAIR_WINDOW: {
    policy: 'stop',
    happened:
      'A window was given, but the stream has a gap, which only a new slot and a comparison of everything can fill.',
    next: 'Run `pg-outbox-clickhouse repair` without --from and --to.',
  },
  OUTBOX_REPAIR_BUSY: {
    policy: 'stop',
    happened: 'Another repair of this slot is under way.',
    next: 'Let it end.',
  },
  OUTBOX_ERASE_BUSY: {
    policy: 'stop',
    happened:
      'Something that reads or sends the same events is under way: another `erase`, `verify`, `repair`, `reshard` or `migrate`. Beside an erase, what is erased could be sent again, or seem to be missing.',
    next: 'Let it end, then run the command again.',
  },
  OUTBOX_ERASE_HELD: {
    policy: 'stop',
    happened:
      'Events that are to be erased are under a legal hold: a rule of OUTBOX_CLICKHOUSE_RETENTION keeps them forever. Nothing was erased.',
    next: 'If the hold has ended, remove its rule from OUTBOX_CLICKHOUSE_RETENTION, run `pg-outbox-clickhouse migrate`, then erase again. Otherwise erase by conditions that leave out what is held.',
  },
  OUTBOX_ERASE_UNDELIVERED: {
    policy: 'stop',
    happened:
      'Not everything that was committed is delivered by every slot of outbox.stream. What is still in WAL reaches ClickHouse later, so nothing proves yet that no event comes back.',
    next: 'Start the streamers that the message names, or run `pg-outbox-clickhouse repair` for a slot with a gap; then run the same `erase` again: it goes on where it was. Give it more time with --wait.',
  },
  OUTBOX_REPAIR_OTHER_SOURCE: {
    policy: 'stop',
    happened:
      'ClickHouse lacks events under the source of this slot, and has them elsewhere, mostly under another source, which `problems` names: another slot, or another cluster, has delivered them. To send them would count them twice. None of them was sent.',
    next: 'If the slot was renamed or the database was moved, give the stream its former source, as docs/upgrading.md says, then run `pg-outbox-clickhouse repair` again. If both sources are to have these events, run it with --send-again.',
  },
  OUTBOX_VERIFY_NO_STREAMER: {
    policy: 'stop',
    happened:
      'Nothing can be proved now: no streamer holds the slot, so what was committed last is not in ClickHouse yet.',
    next: 'Start the streamer, or give it more time with --wait (where it cannot stream: `repair --new-slot`). `--wait 0` compares what is there; what was not delivered yet then counts as missing.',
  },
  OUTBOX_VERIFY_NOTHING: {
    policy: 'stop',
    happened:
      'There is nothing to compare: outbox.event has no event of that time that this slot delivers, so nothing is proved of ClickHouse.',
    next: 'Ask for a time of which outbox.event still has events: retention removes them after OUTBOX_RETENTION_DAYS. `expired` counts what ClickHouse has from before. After `reshard`, `verify --former` compares what former shares have delivered.',
  },
  OUTBOX_VERIFY_BEHIND: {
    policy: 'stop',
    happened:
      'Nothing can be proved now: the streamer runs, but did not deliver what the snapshot shows within the time of --wait.',
    next: 'Look at the streamer’s log for what holds it up, or give it more time with --wait. `--wait 0` compares what is there; what was not delivered yet then counts as missing.',
  },
  OUTBOX_VERIFY_SAME_ID: {
    policy: 'stop',
    happened:
      'More than 50,000 events that differ have the same event_id, which the message names. `verify` and `repair` would have to hold all of them in memory.',
    next: 'Have the producer give each event an event_id of its own. If ClickHouse has none of these events and no stream will bring them, run UPDATE outbox.event SET event_id = gen_random_uuid() WHERE event_id = <id>, then run the command again. Otherwise compare shorter times with --from and --to.',
  },

  // manifests
  OUTBOX_MANIFEST_DIFFERS: {
    policy: 'report',
    happened:
      'An hour has no manifest, or none of its late events: Postgres and ClickHouse do not hold the same events of it, or ClickHouse does not hold those of the manifest before. The message names the hour. Retention keeps its events meanwhile.',
    next: 'Run `pg-outbox-clickhouse verify`, which names the events, then `repair` for those that are missing. For what was altered or added in ClickHouse, ask who did it: `verify --manifests` shows what else was. The manifest is made once both sides agree.',
  },
  OUTBOX_MANIFEST_FORKED: {
    policy: 'report',
    happened:
      'The chains of manifests in Postgres and in ClickHouse are not the same, and Postgres does not confirm what ClickHouse has more. Somebody changed one of them, or Postgres was restored from a backup that is older than its retention.',
    next: 'Run `pg-outbox-clickhouse verify --manifests --anchor <archived log>`, which tells which of the two the archive knows. Then restore the rows of the other one. No manifest is made before they agree.',
  },
  OUTBOX_MANIFEST_NONE: {
    policy: 'stop',
    happened: 'There is no manifest of that time, so nothing is proved.',
    next: 'Set OUTBOX_MANIFESTS=on for the streamer, which then makes one of each hour that outbox.event still has, or ask for another time.',
  },

  // retention
  OUTBOX_RETENTION_HELD: {
    policy: 'report',
    happened:
      'Rows of outbox.event are older than OUTBOX_RETENTION_DAYS and stay: not everything is known to be delivered by every slot of outbox.stream, or somebody holds a lock on them. Nothing is lost and no producer waits; the table grows.',
    next: 'Fix what the message names: start the streamer of that slot, let it catch up, run `pg-outbox-clickhouse repair`, or end the transaction that holds the lock. Retention then goes on by itself. If a slot is given up permanently, delete its row of outbox.stream: it holds nothing any more.',
  },
  OUTBOX_RETENTION_BUSY: {
    policy: 'stop',
    happened: 'Another retention of this database is under way.',
    next: 'Let it end. The streamer runs one each hour; with OUTBOX_RETENTION_DAYS=0 it leaves that to the command `retention`.',
  },

  // running
  OUTBOX_HEALTH_PORT: {
    policy: 'stop',
    happened: 'The port of OUTBOX_HEALTH_PORT cannot be listened on.',
    next: 'Set OUTBOX_HEALTH_PORT to a free port, or to 0 to serve no health.',
  },
  OUTBOX_FLOW_STARTING: {
    policy: 'report',
    happened: 'The streamer has begun, and has not attached to its slot or not heard of ClickHouse yet.',
    next: 'Nothing, for some seconds. If it lasts, look at its log.',
  },
  OUTBOX_FLOW_NO_STREAMER: {
    policy: 'report',
    happened: 'No streamer holds the slot, so nothing is delivered; events wait in Postgres.',
    next: 'Start it: `pg-outbox-clickhouse run`. If it runs, its log and `pg-outbox-clickhouse doctor` say what keeps it from attaching.',
  },
  OUTBOX_FLOW_STALLED: {
    policy: 'report',
    happened: 'A streamer holds the slot, but events wait and none has been delivered for some time.',
    next: 'Look at ClickHouse (is it busy, does a materialized view hang?), at the streamer’s log and at `pg-outbox-clickhouse doctor`. Nothing is lost: events wait in Postgres.',
  },
  OUTBOX_FLOW_LATE: {
    policy: 'report',
    happened: 'Events are delivered, but later than OUTBOX_READY_MAX_LAG_MS.',
    next: 'After an outage, wait: `pg-outbox-clickhouse status --watch` shows whether it catches up. Otherwise look at how long inserts take in ClickHouse.',
  },
  OUTBOX_FLOW_SLOW: {
    policy: 'report',
    happened:
      'A database is there, and did not answer the questions of `status` in time: it is busy, or a lock is in the way. Events may flow all the same, because the streamer waits longer.',
    next: 'Look at what runs there: pg_stat_activity in Postgres, system.processes in ClickHouse. Then ask again.',
  },
  OUTBOX_FLOW_FAILED: {
    policy: 'report',
    happened: 'The streamer met an error that has no code: a fault of this program.',
    next: 'Report it with the lines of the log. It starts again by itself, from the ledger.',
  },
  OUTBOX_SHUTDOWN_TIMEOUT: {
    policy: 'stop',
    happened: 'A graceful stop took longer than OUTBOX_SHUTDOWN_TIMEOUT_MS.',
    next: 'Nothing is lost: what was not settled is delivered again, once, at the next start. Raise the limit if it happens often.',
  },

  // the console
  OUTBOX_CONSOLE_PORT: {
    policy: 'stop',
    happened: 'The console cannot listen on OUTBOX_CONSOLE_HOST and OUTBOX_CONSOLE_PORT.',
    next: 'Set OUTBOX_CONSOLE_PORT to a free port, or to 0 for any free one, and OUTBOX_CONSOLE_HOST to an address of this host.',
  },
  OUTBOX_CONSOLE_TOKEN: {
    policy: 'report',
    happened: 'The console was asked without its token, or with a wrong one.',
    next: 'Type in what OUTBOX_CONSOLE_TOKEN holds. After ten wrong tokens an address is refused for a minute.',
  },
  OUTBOX_CONSOLE_REQUEST: {
    policy: 'report',
    happened: 'The console refuses this request: it names another host, comes from another site, or is malformed.',
    next: 'Open the console under the address that its log names. Where a proxy stands before it, the proxy must pass the Host header on.',
  },
  OUTBOX_CONSOLE_READ_ONLY: {
    policy: 'report',
    happened: 'This console changes nothing: it has no OUTBOX_CONSOLE_TOKEN, or its roles may only read.',
    next: 'Use `pg-outbox-clickhouse quarantine`, or start the console with OUTBOX_CONSOLE_TOKEN and the roles of the streamer.',
  },
  OUTBOX_CONSOLE_PAYLOADS_OFF: {
    policy: 'report',
    happened: 'This console does not search in contexts, nor show them.',
    next: 'Start the console with OUTBOX_CONSOLE_PAYLOADS=on where its readers may see what events contain.',
  },
  OUTBOX_CONSOLE_LIMIT: {
    policy: 'report',
    happened:
      'ClickHouse ended a question of the console, because it would read too much, take too long or need too much memory.',
    next: 'Ask for a shorter time, or for a type, subject or id. For larger questions use a client of ClickHouse: the page shows the SQL.',
  },
  OUTBOX_CONSOLE_BUSY: {
    policy: 'report',
    happened:
      'This console is at work for other readers: a verification that it started still runs, or it asks ClickHouse as many questions at once as it may.',
    next: 'Wait until they end, and ask again.',
  },

  // the catalogue
  OUTBOX_CATALOG_UNREADABLE: {
    policy: 'stop',
    happened: 'The definitions of events cannot be read from the file that `catalog` was given. Nothing was changed.',
    next: 'Export what `defineEvent` made from the file, and try to load the file by itself: `node <file>`.',
  },
  OUTBOX_CATALOG_NAME_TAKEN: {
    policy: 'stop',
    happened:
      'A view for an event type would have the name of a table or view that `catalog` did not make. Nothing was changed.',
    next: 'Make the views in a database of their own: `CREATE DATABASE event_catalog` in ClickHouse, then `pg-outbox-clickhouse catalog <file> --database event_catalog`. Or rename what has the name.',
  },

  // embedded services
  OUTBOX_EMBEDDED_PLATFORM: {
    policy: 'throw',
    happened: 'There is no embedded Postgres or ClickHouse for this platform.',
    next: 'Use servers of your own, such as the official images in Docker, by DATABASE_URL and CLICKHOUSE_URL: `pg-outbox-clickhouse dev` takes them, too. The tests of this repository take OUTBOX_TEST_SERVICES=containers.',
  },
  OUTBOX_EMBEDDED_FAILED: {
    policy: 'throw',
    happened: 'An embedded service did not start or ended unexpectedly.',
    next: 'Look at the log that the message names or quotes.',
  },
} as const satisfies Entries;
