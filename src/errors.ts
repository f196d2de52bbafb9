/**
 * Every error of this project: a stable code, what happened, and what to do next. docs/errors.md is generated from this
 * table (`npm run docs`), so a code without an entry does not compile and an entry without a page does not pass the tests.
 */
export const ERRORS = {
  // the library
  OUTBOX_EVENT_INVALID: {
    happened:
      'An event given to emitEvent or emitEvents breaks the rules of an event, of its schema or of its outbox. No SQL was sent.',
    next: 'Mend the event, or the defaults of its outbox: `problems` names every field at fault, without its value.',
  },
  OUTBOX_DEFINITION_INVALID: {
    happened: 'defineEvent or createOutbox was given what it cannot work with.',
    next: 'Mend the call: `problems` names everything at fault.',
  },
  OUTBOX_NO_TRANSACTION: {
    happened:
      'emitEvent was called without an open transaction: with a pool, a plain database handle, or a client outside BEGIN … COMMIT.',
    next: 'Pass the transaction in which the business change is made: `db.transaction((tx) => emitEvent(tx, …))`, or a pg client after an awaited BEGIN.',
  },
  OUTBOX_EMIT_FAILED: {
    happened:
      'Postgres refused the INSERT into outbox.event. The transaction is aborted; neither the event nor the change exists.',
    next: 'Look at `sqlState`: 42P01 means that `pg-outbox-clickhouse migrate` has not run, 42501 that the role lacks INSERT on outbox.event; 40001 and 40P01 want the transaction again.',
  },
  OUTBOX_TEST_UNSUPPORTED: {
    happened: 'A helper of pg-outbox-clickhouse/testing was given what it cannot work with.',
    next: 'The recorder takes nothing but the INSERTs of events. The helpers that ask Postgres take a pg client or pool, a drizzle database or transaction, or a function `(sql, params) => rows`.',
  },
  OUTBOX_TEST_NOT_DELIVERED: {
    happened: 'What was committed before untilDelivered was called has not been delivered within its time.',
    next: 'See that a streamer runs with this slot and what its log says, or give `timeoutMs` more time.',
  },

  // configuration
  OUTBOX_CONFIG_INVALID: {
    happened: 'The environment holds settings that are missing, wrong or unknown. Nothing was started.',
    next: 'Mend every setting named in `problems`; docs/configuration.md lists them all.',
  },

  // Postgres, as the streamer and the migration see it
  OUTBOX_PG_UNREACHABLE: {
    happened: 'No connection to Postgres: refused, timed out, name not found, or lost.',
    next: 'Check DATABASE_URL and the server. The streamer goes on by itself when it answers; events wait in the slot.',
  },
  OUTBOX_PG_AUTH: {
    happened: 'Postgres answered, but refused the user, the password or the database of DATABASE_URL.',
    next: 'Check user, password and database, the role’s REPLICATION attribute, and pg_hba.conf.',
  },
  OUTBOX_PG_PRIVILEGE: {
    happened: 'The role of DATABASE_URL lacks a privilege that is needed.',
    next: 'For the streamer, grant it as migrations/postgres/roles.sql shows; `migrate` needs the database’s owner with REPLICATION.',
  },
  OUTBOX_PG_WAL_LEVEL: {
    happened: 'wal_level is not "logical", so Postgres cannot decode committed changes.',
    next: 'Run `ALTER SYSTEM SET wal_level = logical` and restart Postgres.',
  },
  OUTBOX_PG_VERSION: {
    happened: 'The Postgres server is older than 15.',
    next: 'Upgrade Postgres: publications with column lists came with 15.',
  },
  OUTBOX_PG_STANDBY: {
    happened: 'The server of DATABASE_URL is a standby: it can keep no ledger.',
    next: 'Point DATABASE_URL at the primary, by a name that follows a failover. The streamer goes on by itself when this server is promoted.',
  },
  OUTBOX_PG_UNSAFE: {
    happened:
      'Postgres runs with settings under which a crash may lose what it has confirmed, so events may be lost or doubled.',
    next: 'Apply what `problems` names and reload Postgres, unless this database may lose its data anyway.',
  },
  OUTBOX_PG_NOT_MIGRATED: {
    happened: 'The schema outbox, one of its tables, or the ledger row of this slot is missing.',
    next: 'Run `pg-outbox-clickhouse migrate` against this database, with the same OUTBOX_SLOT.',
  },
  OUTBOX_PG_TABLE_UNSUITABLE: {
    happened: 'A column of outbox.event is missing from the stream or of another type than the migration gives it.',
    next: 'Restore the columns named in `problems`; columns of your own may be added beside them.',
  },
  OUTBOX_PG_FAILED: {
    happened:
      'Postgres refused a statement of the streamer or of the migration for a reason without a code of its own.',
    next: 'Look at `sqlState` and the message; the streamer tries again with a new connection.',
  },
  OUTBOX_PUBLICATION_MISSING: {
    happened:
      'The publication "outbox" is missing, or does not publish the inserts of outbox.event with all columns needed through the partition root. Postgres would stream nothing, without a word.',
    next: 'Run `pg-outbox-clickhouse migrate`, which restores it, then `pg-outbox-clickhouse repair`: events committed while it was missing are in outbox.event, but not in the stream.',
  },
  OUTBOX_PUBLICATION_CHANGED: {
    happened:
      'The publication was dropped and made again, or altered, since this slot last delivered. Events committed in between are not in the stream.',
    next: 'Run `pg-outbox-clickhouse repair`: it delivers what is missing, and the stream goes on.',
  },
  OUTBOX_SLOT_MISSING: {
    happened: 'The replication slot does not exist, although the ledger says that it once did.',
    next: 'Find out who dropped it, then run `pg-outbox-clickhouse repair`: it makes a new slot and delivers what the old one would have. The streamer never makes a slot by itself, because what was committed before is not in it.',
  },
  OUTBOX_SLOT_INVALID: {
    happened:
      'The replication slot cannot be used: invalidated (wal_status lost), of another database, temporary, or not of the plugin pgoutput.',
    next: 'Look at pg_replication_slots. Where it is invalidated, run `pg-outbox-clickhouse repair`: the events are in outbox.event. A slot of another plugin or database is somebody else’s: set another OUTBOX_SLOT.',
  },
  OUTBOX_SLOT_CHANGED: {
    happened:
      'The replication slot is confirmed beyond what this streamer ever acknowledged: it was dropped and made again, advanced by hand, or read by someone else. Events in between are not in the stream.',
    next: 'Find out who did it, then run `pg-outbox-clickhouse repair`: it delivers what is missing.',
  },
  OUTBOX_SLOT_ENDANGERED: {
    happened:
      'The slot is about to lose WAL that it needs (wal_status unreserved, or its runway ends soon): max_slot_wal_keep_size is nearly used up.',
    next: 'Let the streamer catch up: look at what holds it (ClickHouse?), or raise max_slot_wal_keep_size and reload. If the slot is lost, `repair` delivers what is missing.',
  },
  OUTBOX_SLOT_BUSY: {
    happened: 'Another process holds the replication slot.',
    next: 'Nothing, if it is another streamer: this one waits and takes over when the other ends.',
  },
  OUTBOX_SYSTEM_CHANGED: {
    happened: 'This is another database cluster than the one the ledger was written for (system identifier differs).',
    next: 'Check DATABASE_URL. A cluster made from a dump needs a slot and a ledger of its own: remove the row of outbox.stream and run `pg-outbox-clickhouse migrate`.',
  },
  OUTBOX_TIMELINE_CHANGED: {
    happened:
      'Postgres is on another timeline than the ledger (failover, or restore to a point in time). What was written before is looked for in ClickHouse before it is sent, and delivery goes on.',
    next: 'Nothing for delivery. If the new primary has lost transactions, their events may stand in ClickHouse: `pg-outbox-clickhouse verify` names them as extra.',
  },
  OUTBOX_TIMELINE_DIFFERS: {
    happened:
      'Statements and replication reach servers on different timelines, as happens behind a proxy during a failover.',
    next: 'Nothing, if a failover is under way: the streamer connects again until both are one.',
  },
  OUTBOX_LEDGER_BEHIND: {
    happened:
      'ClickHouse holds events of this source beyond what the ledger knows of: Postgres was set back to an older state (a restored disk, a ledger row edited or lost).',
    next: 'Nothing for delivery: what is in WAL is looked for in ClickHouse before it is sent. Events of transactions that Postgres has lost may stand in ClickHouse: `pg-outbox-clickhouse verify` names them as extra.',
  },
  OUTBOX_REPAIR_UNFINISHED: {
    happened: 'A repair of this slot has begun and not ended, so nothing may be streamed yet.',
    next: 'Run `pg-outbox-clickhouse repair` again, or let it end: it goes on from what ClickHouse holds.',
  },
  OUTBOX_POSITION_BEYOND_WAL: {
    happened: 'The ledger is ahead of the server’s WAL: Postgres was restored to an older state.',
    next: 'Restore the row of outbox.stream together with the server that it belongs to, or run `pg-outbox-clickhouse repair`.',
  },
  OUTBOX_EPOCH_LOST: {
    happened: 'Another streamer has taken over this slot’s ledger (its epoch is newer).',
    next: 'Nothing, if a takeover was intended: this one has stopped delivering and waits for the slot.',
  },
  OUTBOX_RANGE_LOST: {
    happened:
      'The stream does not contain the pending range that the ledger records, so an insert under way cannot be repeated exactly.',
    next: 'The slot was advanced or made again by hand, or rows of the range are published no more. Run `pg-outbox-clickhouse repair --new-slot`.',
  },
  OUTBOX_PROTOCOL: {
    happened: 'A message of the replication stream does not have the form that the protocol prescribes.',
    next: 'Report it with the server’s version; nothing was acknowledged, so nothing is lost.',
  },

  // ClickHouse
  OUTBOX_CH_UNREACHABLE: {
    happened: 'No connection to ClickHouse: refused, timed out, name not found, or lost.',
    next: 'Check CLICKHOUSE_URL and the server. The same insert is repeated until it is answered; events wait in Postgres.',
  },
  OUTBOX_CH_AUTH: {
    happened: 'ClickHouse refused the user, the password or a privilege.',
    next: 'Check CLICKHOUSE_URL and the grants, which SECURITY.md lists.',
  },
  OUTBOX_CH_NOT_MIGRATED: {
    happened: 'The target table or its database does not exist in ClickHouse.',
    next: 'Create the database that CLICKHOUSE_URL names, then run `pg-outbox-clickhouse migrate`; or point CLICKHOUSE_URL and OUTBOX_CLICKHOUSE_TABLE at the right table.',
  },
  OUTBOX_CH_TABLE_UNSUITABLE: {
    happened:
      'The target table cannot hold events exactly once: a column is missing, or its deduplication window or fsync settings are off.',
    next: 'Apply what the message names; `pg-outbox-clickhouse migrate` makes a table that has all of it.',
  },
  OUTBOX_CH_UNAVAILABLE: {
    happened: 'ClickHouse cannot take the insert now (overloaded, read-only, out of memory, too many parts, 5xx).',
    next: 'Look at ClickHouse. The same insert is repeated until it succeeds; events wait in Postgres.',
  },
  OUTBOX_CH_REFUSED: {
    happened:
      'ClickHouse refuses the insert because of its configuration: schema, setting, partition limit or privilege.',
    next: 'Mend what the ClickHouse code names. The same insert is repeated until it succeeds; events wait in Postgres.',
  },
  OUTBOX_CH_ROW_REFUSED: {
    happened: 'ClickHouse refuses an insert because of the contents of a row.',
    next: 'Look at constraints and defaults of the table. The event at fault is set aside in outbox.quarantine, the others are delivered.',
  },
  OUTBOX_QUARANTINED: {
    happened:
      'Events that ClickHouse refuses, each alone, were set aside in outbox.quarantine; the others were delivered.',
    next: 'See `pg-outbox-clickhouse quarantine list`, mend the table, then `quarantine retry`; or `quarantine discard`.',
  },
  OUTBOX_QUARANTINE_DROPPED: {
    happened:
      'A retried event was inserted and is not in the table: ClickHouse took it for a repetition of one that was removed.',
    next: 'Run `pg-outbox-clickhouse quarantine retry` once more: it goes under another token then.',
  },
  OUTBOX_QUARANTINE_FULL: {
    happened:
      'ClickHouse refuses rows, and OUTBOX_QUARANTINE_MAX_ROWS events are in quarantine already: the table is probably at fault. The insert is repeated.',
    next: 'Mend the table (a constraint? a default?), or empty the quarantine (`pg-outbox-clickhouse quarantine retry`), or raise the limit.',
  },
  OUTBOX_CH_VIEW_FAILED: {
    happened:
      'A materialized view on the table threw. The rows may already be in the table; only the same insert with the same token completes the view.',
    next: 'Mend or drop the view. The insert is repeated until it succeeds, and counts once.',
  },
  OUTBOX_CH_VIEW_FORGETS: {
    happened:
      'Materialized views on the table fill tables without a deduplication window, which is ClickHouse’s default, or cannot be looked at: an insert that has to be repeated counts twice there. The table itself is not affected.',
    next: 'For the target of each view named in `problems`: ALTER TABLE … MODIFY SETTING non_replicated_deduplication_window = 10000.',
  },
  OUTBOX_CH_VIEWS_UNPROVEN: {
    happened:
      'Rows of a pending insert that was looked for are in the table, so they count as delivered. Whether the materialized views have them is not known.',
    next: 'Compare the views with the table for the time of the last rows of this source, and fill what is missing by hand.',
  },
  OUTBOX_CH_RANGE_PARTIAL: {
    happened:
      'A part of a pending insert was in the table, the rest was sent, and ClickHouse took it for a repetition and dropped it.',
    next: 'Somebody has removed rows while the insert was pending. Stop the streamer, delete the range (from the ledger’s delivered position to its pending one) of this source from the table, make the table forget its tokens (MODIFY SETTING non_replicated_deduplication_window = 0, then back), and start: the range is then sent whole.',
  },
  OUTBOX_CH_ANSWER: {
    happened:
      'ClickHouse answered in a way that proves nothing: an insert with a body, or with another number of rows; a question with what is not JSON.',
    next: 'Look for a proxy between streamer and ClickHouse. The same insert is repeated until it is answered properly.',
  },
  OUTBOX_CH_FAILED: {
    happened: 'ClickHouse answered with a code that is not known here.',
    next: 'Look at the code and ClickHouse’s log. The same insert is repeated until it succeeds.',
  },

  // comparing
  OUTBOX_REPAIR_WINDOW: {
    happened:
      'A window was given, but the stream has a gap, which only a new slot and a comparison of everything can fill.',
    next: 'Run `pg-outbox-clickhouse repair` without --from and --to.',
  },
  OUTBOX_REPAIR_BUSY: {
    happened: 'Another repair of this slot is under way.',
    next: 'Let it end.',
  },
  OUTBOX_VERIFY_NO_STREAMER: {
    happened:
      'Nothing can be proved now: no streamer holds the slot, so what was committed last is not in ClickHouse yet.',
    next: 'Start the streamer, or give it more time with --wait (where it cannot stream: `repair --new-slot`). `--wait 0` compares what is there; what was not delivered yet then counts as missing.',
  },
  OUTBOX_VERIFY_BEHIND: {
    happened:
      'Nothing can be proved now: the streamer runs, but did not deliver what the snapshot shows within the time of --wait.',
    next: 'Look at the streamer’s log for what holds it up, or give it more time with --wait. `--wait 0` compares what is there; what was not delivered yet then counts as missing.',
  },

  // the process
  OUTBOX_HEALTH_PORT: {
    happened: 'The port of OUTBOX_HEALTH_PORT cannot be listened on.',
    next: 'Set OUTBOX_HEALTH_PORT to a free port, or to 0 to serve no health.',
  },
  OUTBOX_SHUTDOWN_TIMEOUT: {
    happened: 'A graceful stop took longer than OUTBOX_SHUTDOWN_TIMEOUT_MS.',
    next: 'Nothing is lost: what was not settled is delivered again, once, at the next start. Raise the limit if it happens often.',
  },

  // embedded services
  OUTBOX_EMBEDDED_PLATFORM: {
    happened: 'There is no embedded Postgres or ClickHouse for this platform.',
    next: 'Use the real ones: `docker compose up`, or OUTBOX_TEST_SERVICES=containers for the tests.',
  },
  OUTBOX_EMBEDDED_FAILED: {
    happened: 'An embedded service did not start or ended unexpectedly.',
    next: 'Look at the log that the message names or quotes.',
  },
} as const satisfies Record<string, { happened: string; next: string }>;

export type ErrorCode = keyof typeof ERRORS;

export interface ErrorDetails {
  /** What exactly went wrong here, without any payload, password or parameter. */
  detail?: string;
  /** Every problem found, where several were looked for at once. */
  problems?: readonly string[];
  /** SQLSTATE, where Postgres gave one. */
  sqlState?: string | undefined;
  /** ClickHouse's numeric error code, where it gave one. */
  clickhouseCode?: number | undefined;
  cause?: unknown;
}

/** The one error class of this project. `code` is stable; `next` is the operator's or developer's next step. */
export class OutboxError extends Error {
  override readonly name = 'OutboxError';
  readonly code: ErrorCode;
  readonly problems: readonly string[];
  readonly sqlState: string | undefined;
  readonly clickhouseCode: number | undefined;

  constructor(code: ErrorCode, details: ErrorDetails = {}) {
    const { detail, problems = [], sqlState, clickhouseCode, cause } = details;
    const lines = [detail ?? ERRORS[code].happened, ...problems.map((problem) => `  - ${problem}`)];
    super(lines.join('\n'), cause === undefined ? undefined : { cause });
    this.code = code;
    this.problems = problems;
    this.sqlState = sqlState;
    this.clickhouseCode = clickhouseCode;
  }

  get next(): string {
    return ERRORS[this.code].next;
  }
}
