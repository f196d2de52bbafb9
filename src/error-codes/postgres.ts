import type { Entries } from './entry.ts';

/** Postgres, its slot and its stream, as the streamer and the migration see them. */
export const POSTGRES = {
  OUTBOX_PG_UNREACHABLE: {
    policy: 'reconnect soon',
    happened: 'No connection to Postgres: refused, timed out, name not found, or lost.',
    next: 'Check DATABASE_URL and the server; of several hosts, `problems` says of each why it was not used. The streamer goes on by itself when it answers; events wait in the slot.',
  },
  OUTBOX_PG_AUTH: {
    policy: 'reconnect patiently',
    happened: 'Postgres answered, but refused the user, the password or the database of DATABASE_URL.',
    next: 'Check user, password and database, the role’s REPLICATION attribute, and pg_hba.conf.',
  },
  OUTBOX_PG_PASSWORD_COMMAND: {
    policy: 'reconnect soon',
    happened: 'DATABASE_PASSWORD_COMMAND gave no password: it failed, took too long, or printed nothing or too much.',
    next: 'Run the command as the streamer’s user, with its environment: it must end with 0 and print the password, and nothing else, within `connect_timeout` of DATABASE_URL (10 s). What it prints, on stderr too, is never logged.',
  },
  OUTBOX_PG_LOCKED: {
    policy: 'stop',
    happened:
      'Somebody holds a lock that is needed: on a table of the outbox, or the advisory lock under which the outbox is migrated, or its expired events are removed.',
    next: 'If it is another `migrate`, or a VACUUM FULL or ALTER TABLE of yours, let it end. Otherwise look at the process, or the prepared transaction, that the message names: any role can take the advisory lock. SELECT pg_terminate_backend(<process>) ends a process; for anything else, `problems` has the statement.',
  },
  OUTBOX_PG_OWNER: {
    policy: 'stop',
    happened:
      'The schema outbox, something in it, or a function, operator or type that it uses belongs to another role than the one that migrates, or others may create in it. Such code runs with the rights of whoever uses the tables, so its owner could do what this role may.',
    next: 'Where all that `problems` names was made by a role that you trust, run `migrate` as that role. Otherwise run the statements there: tables change their owner, code of others is dropped with what hangs on it. To own such code would not make it yours.',
  },
  OUTBOX_PG_POOLER: {
    policy: 'reconnect patiently',
    happened:
      'DATABASE_URL leads to a connection pooler (PgBouncer, Supavisor, RDS Proxy and the like), which passes on neither replication nor the settings of a session.',
    next: 'Give the streamer and its commands the address and port of the server itself. Applications may go on using the pooler.',
  },
  OUTBOX_PG_PRIVILEGE: {
    policy: 'reconnect patiently',
    isPrivilege: true,
    happened: 'The role of DATABASE_URL lacks a privilege that is needed.',
    next: 'For the streamer, grant it as migrations/postgres/roles.sql shows; `migrate` needs the database’s owner with REPLICATION. On a managed service: docs/managed-postgres.md.',
  },
  OUTBOX_PG_WAL_LEVEL: {
    policy: 'reconnect patiently',
    happened:
      'wal_level is not "logical" (from Postgres 19 on: it is "minimal"), so Postgres cannot decode committed changes.',
    next: 'Run `ALTER SYSTEM SET wal_level = logical` and restart Postgres. On a managed service: docs/managed-postgres.md.',
  },
  OUTBOX_PG_VERSION: {
    policy: 'reconnect patiently',
    happened: 'The Postgres server is older than 15.',
    next: 'Upgrade Postgres: publications with column lists came with 15.',
  },
  OUTBOX_PG_STANDBY: {
    policy: 'reconnect patiently',
    happened: 'The server of DATABASE_URL is a standby, or every one of several hosts is: it can keep no ledger.',
    next: 'Point DATABASE_URL at the primary, by a name that follows a failover or by naming all hosts. The streamer goes on by itself when this server is promoted.',
  },
  OUTBOX_PG_UNSAFE: {
    policy: 'report',
    happened:
      'Postgres runs with settings under which a crash may lose what it has confirmed, so events may be lost or doubled.',
    next: 'Apply what `problems` names and reload Postgres, unless this database may lose its data anyway.',
  },
  OUTBOX_PG_NOT_MIGRATED: {
    policy: 'reconnect patiently',
    happened: 'The schema outbox, one of its tables or columns, or the ledger row of this slot is missing.',
    next: 'Run `pg-outbox-clickhouse migrate` against this database, with the same OUTBOX_SLOT.',
  },
  OUTBOX_PG_TABLE_UNSUITABLE: {
    policy: 'reconnect patiently',
    happened:
      'outbox.event is not as the migration makes it: a column is missing, of another type or may be NULL, or events of a partition are not in WAL; or outbox.stream has several rows for one slot.',
    next: 'Apply what `problems` names, in its order. Then run `pg-outbox-clickhouse migrate`, which restores the publication, and `repair`, which delivers what was not in the stream meanwhile. Columns of your own may be added beside those of the migration.',
  },
  OUTBOX_PG_TABLE_FOREIGN: {
    policy: 'stop',
    happened:
      'The schema outbox holds something of a name that `migrate` needs, and that this program has not made: another product’s outbox, or what is left of an earlier one. Nothing was changed.',
    next: 'Set OUTBOX_SCHEMA to a name that is free, here and for the applications; or give the other schema another name (ALTER SCHEMA outbox RENAME TO …) and tell its users; or point DATABASE_URL at another database. Then run `pg-outbox-clickhouse migrate` again.',
  },
  OUTBOX_PG_TABLE_CHANGED: {
    policy: 'reconnect patiently',
    happened:
      'WAL that the slot keeps holds events of outbox.event from when it was another table, or had other columns: one was renamed, of another type, not published, or NULL. The streamer cannot read them there.',
    next: 'Run `pg-outbox-clickhouse repair --new-slot`: it takes those events from outbox.event as it is now, and makes a slot that begins behind that WAL.',
  },
  OUTBOX_PG_TABLE_REPLACED: {
    policy: 'stop',
    happened:
      'outbox.event is another table than the one that the slot streamed, and that one still exists under the name in the message. Events in it may not have been delivered, and a repair would compare outbox.event alone.',
    next: 'Copy its events with their ids (INSERT INTO outbox.event SELECT * FROM <table>), drop it, and run `pg-outbox-clickhouse repair` again: it sends those that ClickHouse does not have.',
  },
  OUTBOX_PUBLICATION_FOREIGN: {
    policy: 'stop',
    happened:
      'A publication "outbox" exists that publishes other tables. It is somebody else’s: `migrate` would take them out of it. Nothing was changed.',
    next: 'Set OUTBOX_SCHEMA to another name, which the publication has, too; or give that publication another name (ALTER PUBLICATION outbox RENAME TO …, and tell its consumers), or take the other tables out of it, then run `migrate` again. Where a slot is called like OUTBOX_SLOT and is another consumer’s, choose another OUTBOX_SLOT.',
  },
  OUTBOX_PG_WRITE_IGNORED: {
    policy: 'reconnect patiently',
    happened:
      'Postgres accepted a write of outbox.stream or outbox.quarantine, and the row is not as it was written: a trigger or a rule on the table keeps it as it was, or drops it. Nothing is delivered on such a record, and events wait in Postgres.',
    next: 'Run `pg-outbox-clickhouse doctor`, which names the trigger or rule with the statement that drops it. The streamer then goes on by itself.',
  },
  OUTBOX_PG_FAILED: {
    policy: 'reconnect soon',
    happened:
      'Postgres refused a statement of the streamer or of the migration for a reason without a code of its own.',
    next: 'Look at `sqlState` and the message; the streamer tries again with a new connection. At 57014 a table may be locked: `pg-outbox-clickhouse doctor` names who holds the lock.',
  },
  OUTBOX_PUBLICATION_MISSING: {
    policy: 'reconnect patiently',
    happened:
      'The publication "outbox" is missing, or does not publish the inserts of outbox.event with all columns needed through the partition root. Postgres would stream nothing, without a word.',
    next: 'Run `pg-outbox-clickhouse migrate`, which restores it, then `pg-outbox-clickhouse repair`: events committed while it was missing are in outbox.event, but not in the stream.',
  },
  OUTBOX_PUBLICATION_CHANGED: {
    policy: 'reconnect patiently',
    happened:
      'The publication was dropped and made again, or altered, since this slot last delivered. Events committed in between are not in the stream.',
    next: 'Run `pg-outbox-clickhouse repair`: it delivers what is missing, and the stream goes on.',
  },
  OUTBOX_SLOT_MISSING: {
    policy: 'reconnect patiently',
    happened: 'The replication slot does not exist, although the ledger says that it once did.',
    next: 'Find out who dropped it, then run `pg-outbox-clickhouse repair`: it makes a new slot and delivers what the old one would have. The streamer never makes a slot by itself, because what was committed before is not in it.',
  },
  OUTBOX_SLOT_WAITS: {
    policy: 'stop',
    happened: 'The slot cannot be made while transactions are open that began before: Postgres waited for ten minutes.',
    next: 'End those that `problems` names (SELECT pg_terminate_backend(<process>), ROLLBACK PREPARED for a prepared one), then run the command again.',
  },
  OUTBOX_SLOT_INVALID: {
    policy: 'reconnect patiently',
    happened:
      'The replication slot cannot be used: invalidated (wal_status lost), of another database, temporary, with two_phase, or not of the plugin pgoutput.',
    next: 'Look at pg_replication_slots. Where it is invalidated or has two_phase, run `pg-outbox-clickhouse repair`: the events are in outbox.event. A temporary slot goes with the session that made it: end that, then run `repair`. A slot of another plugin or database is somebody else’s: set another OUTBOX_SLOT. But where this database was restored beside that one and has taken its place, drop the slot in that one and run `repair` here. If this slot has delivered events before, docs/upgrading.md says how to rename it.',
  },
  OUTBOX_SLOT_CHANGED: {
    policy: 'reconnect patiently',
    happened:
      'The replication slot is confirmed beyond what this streamer ever acknowledged: it was dropped and made again, advanced by hand, or read by someone else. Events in between are not in the stream.',
    next: 'Find out who did it, then run `pg-outbox-clickhouse repair`: it delivers what is missing.',
  },
  OUTBOX_SLOT_ENDANGERED: {
    policy: 'report',
    happened:
      'The slot is about to lose WAL that it needs (wal_status unreserved, or its runway ends soon): max_slot_wal_keep_size is nearly used up.',
    next: 'Let the streamer catch up: look at what holds it (ClickHouse?), or raise max_slot_wal_keep_size and reload. If the slot is lost, `repair` delivers what is missing.',
  },
  OUTBOX_SLOT_BUSY: {
    policy: 'stand by',
    happened: 'Another process holds the replication slot.',
    next: 'Nothing, if it is another streamer: this one waits and takes over when the other ends.',
  },
  OUTBOX_SLOT_FOREIGN: {
    policy: 'reconnect patiently',
    happened:
      'Another program holds the replication slot, and not a streamer. Nothing is delivered, and events that it acknowledges are not in the stream any more.',
    next: 'Stop the program that the message names, where it runs: it would connect again after SELECT pg_terminate_backend(<process>) alone. The streamer attaches when the slot is free. If it then reports OUTBOX_SLOT_CHANGED, run `pg-outbox-clickhouse repair`.',
  },
  OUTBOX_SHARD_DIFFERS: {
    policy: 'reconnect patiently',
    happened:
      'The outbox is delivered in another number of shares than OUTBOX_SHARD says. Two numbers side by side would deliver each event twice, so this streamer does not start, and `migrate` changes nothing.',
    next: 'Set OUTBOX_SHARD as the other streamers of this outbox have it; the message names their slots, such as "outbox_1_of_4". To have another number of shares, run `pg-outbox-clickhouse reshard <n>` first.',
  },
  OUTBOX_SHARD_UNFINISHED: {
    policy: 'stop',
    happened:
      'The number of shares is being changed, and the former shares have not delivered all that was committed before.',
    next: 'Apply what `problems` names, then run `pg-outbox-clickhouse reshard` again with the same number: it goes on. The new streamers may run meanwhile.',
  },
  OUTBOX_SYSTEM_CHANGED: {
    policy: 'reconnect patiently',
    happened: 'This is another database cluster than the one the ledger was written for (system identifier differs).',
    next: 'Check DATABASE_URL. If the database has moved to this cluster without `detach`, and nothing delivers from the former one any more, run `pg-outbox-clickhouse repair --moved`. A copy that is to deliver beside the original needs an OUTBOX_SLOT of its own.',
  },
  OUTBOX_DETACHED: {
    policy: 'reconnect patiently',
    happened:
      '`detach` has ended this stream, for an upgrade or a move of the database: there is no slot, and nothing is delivered. Events are kept in outbox.event.',
    next: 'When the upgrade or the move is done, run `pg-outbox-clickhouse repair`: it makes a slot on this server and delivers what was committed since `detach`. On a server that the database has left, stop the streamer.',
  },
  OUTBOX_DETACH_GAP: {
    policy: 'stop',
    happened: 'The stream has a gap, so a streamer cannot deliver everything before the stream is detached.',
    next: 'Run `pg-outbox-clickhouse repair`, then `detach` again.',
  },
  OUTBOX_DETACH_RESHARDED: {
    policy: 'stop',
    happened:
      'Other shares have delivered events that outbox.event still has: where their part ends is known on this server alone.',
    next: 'Let `pg-outbox-clickhouse reshard` end. Once retention has removed the events from before it (OUTBOX_RETENTION_DAYS), detach again.',
  },
  OUTBOX_TIMELINE_CHANGED: {
    policy: 'report',
    happened:
      'Postgres is on another timeline than the ledger (failover, or restore to a point in time). What was written before is looked for in ClickHouse before it is sent, and delivery goes on.',
    next: 'Nothing for delivery. If the new primary has lost transactions, their events may stand in ClickHouse: `pg-outbox-clickhouse verify` names them as extra.',
  },
  OUTBOX_TIMELINE_DIFFERS: {
    policy: 'reconnect soon',
    happened:
      'Statements and replication reach servers on different timelines, as happens behind a proxy during a failover.',
    next: 'Nothing, if a failover is under way: the streamer connects again until both are one.',
  },
  OUTBOX_LEDGER_BEHIND: {
    policy: 'report',
    happened:
      'ClickHouse holds events of this source beyond what the ledger knows of: Postgres was set back to an older state (a restored disk, a ledger row edited or lost).',
    next: 'Nothing for delivery: what is in WAL is looked for in ClickHouse before it is sent. Events of transactions that Postgres has lost may stand in ClickHouse: `pg-outbox-clickhouse verify` names them as extra.',
  },
  OUTBOX_LEDGER_AHEAD: {
    policy: 'report',
    happened:
      'The last event that the ledger has as delivered is neither in ClickHouse’s table nor in quarantine: CLICKHOUSE_URL or OUTBOX_CLICKHOUSE_TABLE names another table than before, or this one was emptied, restored from a backup, or lost the row to its TTL or a DELETE.',
    next: 'If the table is another one, stop the streamer and correct the setting. Then run `pg-outbox-clickhouse verify`, and `repair` if it names missing events. Delivery goes on; retention keeps in Postgres what it does not find in ClickHouse.',
  },
  OUTBOX_REPAIR_UNFINISHED: {
    policy: 'reconnect patiently',
    happened: 'A repair of this slot has begun and not ended, so nothing may be streamed yet.',
    next: 'Run `pg-outbox-clickhouse repair` again, or let it end: it goes on from what ClickHouse holds.',
  },
  OUTBOX_POSITION_BEYOND_WAL: {
    policy: 'reconnect patiently',
    happened: 'The ledger is ahead of the server’s WAL: Postgres was restored to an older state.',
    next: 'Restore the row of outbox.stream together with the server that it belongs to, or run `pg-outbox-clickhouse repair`.',
  },
  OUTBOX_EPOCH_LOST: {
    policy: 'reconnect soon',
    happened: 'Another streamer has taken over this slot’s ledger (its epoch is newer).',
    next: 'Nothing, if a takeover was intended: this one has stopped delivering and waits for the slot.',
  },
  OUTBOX_RANGE_LOST: {
    policy: 'reconnect patiently',
    happened:
      'The stream does not contain the pending range that the ledger records, so an insert under way cannot be repeated exactly.',
    next: 'The slot was advanced or made again by hand, or rows of the range are published no more. Run `pg-outbox-clickhouse repair --new-slot`.',
  },
  OUTBOX_PROTOCOL: {
    policy: 'reconnect patiently',
    happened: 'A message of the replication stream does not have the form that the protocol prescribes.',
    next: 'Report it with the server’s version; nothing was acknowledged, so nothing is lost.',
  },
} as const satisfies Entries;
