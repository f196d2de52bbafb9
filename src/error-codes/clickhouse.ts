import type { Entries } from './entry.ts';

/** ClickHouse, as the streamer, the migration and the quarantine see it. */
export const CLICKHOUSE = {
  OUTBOX_CH_UNREACHABLE: {
    policy: 'repeat',
    happened: 'No connection to ClickHouse: refused, timed out, name not found, or lost.',
    next: 'Check CLICKHOUSE_URL and the server. The same insert is repeated until it is answered; events wait in Postgres.',
  },
  OUTBOX_CH_AUTH: {
    policy: 'repeat',
    isPrivilege: true,
    happened: 'ClickHouse refused the user, the password or a privilege.',
    next: 'Check CLICKHOUSE_URL and the grants: migrations/clickhouse/roles.sql has all that the streamer needs.',
  },
  OUTBOX_CH_VERSION: {
    policy: 'repeat',
    happened: 'The ClickHouse server is older than 25.3, where the type JSON is an experiment.',
    next: 'Upgrade ClickHouse. Events wait in Postgres meanwhile.',
  },
  OUTBOX_CH_NOT_MIGRATED: {
    policy: 'repeat',
    happened: 'The target table or its database does not exist in ClickHouse.',
    next: 'Create the database that CLICKHOUSE_URL names, then run `pg-outbox-clickhouse migrate`; or point CLICKHOUSE_URL and OUTBOX_CLICKHOUSE_TABLE at the right table. If somebody has detached the table, run `ATTACH TABLE <table>` in ClickHouse instead.',
  },
  OUTBOX_CH_TABLE_FOREIGN: {
    policy: 'repeat',
    happened:
      'The table that OUTBOX_CLICKHOUSE_TABLE names is somebody else’s: it lacks most columns of the target table. Nothing was changed, and nothing is inserted.',
    next: 'Set OUTBOX_CLICKHOUSE_TABLE to a name that is free, or let CLICKHOUSE_URL name another database; then run `pg-outbox-clickhouse migrate`, which makes the table.',
  },
  OUTBOX_CH_TABLE_DETACHED: {
    policy: 'repeat',
    happened:
      'Somebody has detached the target table in ClickHouse (DETACH TABLE). Its events are still there, but nobody can read or write them.',
    next: 'Run `ATTACH TABLE <table>` in ClickHouse. `migrate` does not help: a detached table keeps its name.',
  },
  OUTBOX_CH_TABLE_UNSUITABLE: {
    policy: 'repeat',
    happened:
      'The target table cannot hold events exactly once and as they were emitted: a column is missing or loses what is sent, or its deduplication window or fsync settings are off.',
    next: 'Your own table: `pg-outbox-clickhouse migrate --adopt` shows what it lacks, and adds it. What it cannot add, apply by hand; or let `migrate` make another table (OUTBOX_CLICKHOUSE_TABLE).',
  },
  OUTBOX_CH_TTL_FOREIGN: {
    policy: 'stop',
    happened:
      'The target table has a TTL that `migrate` has not made, and OUTBOX_CLICKHOUSE_RETENTION wants another one. `migrate` replaces only what it has made itself, so the TTL stays as it is.',
    next: 'Say what that TTL does as rules of OUTBOX_CLICKHOUSE_RETENTION, remove it (ALTER TABLE <table> REMOVE TTL), then run `pg-outbox-clickhouse migrate`. Or unset OUTBOX_CLICKHOUSE_RETENTION and keep your own TTL. What moves or packs parts (TO DISK, TO VOLUME, RECOMPRESS) may stay.',
  },
  OUTBOX_CH_PARTS_DETACHED: {
    policy: 'stop',
    happened:
      'Parts of the target table are detached: somebody has detached a partition, or ClickHouse found parts broken when it started. Their events are delivered, and are not in the table. If `repair` sent them, and the parts were attached again, each would be there twice, so `repair` sends none that may be among them.',
    next: 'Attach the parts (ALTER TABLE <table> ATTACH PARTITION ID …), or drop those that are broken or not wanted (ALTER TABLE <table> DROP DETACHED PART … SETTINGS allow_drop_detached = 1), then run `pg-outbox-clickhouse verify`, and `repair` if it names missing events. If the parts will never be attached again, run it with --send-again.',
  },
  OUTBOX_CH_SETTINGS_DROPPED: {
    policy: 'repeat',
    happened:
      'What is sent with each insert does not reach ClickHouse: something between drops parameters of the URL. A repeated insert would count twice.',
    next: 'Have the proxy pass the settings named in `problems`, or all (chproxy: `allowed_params`), or connect to ClickHouse itself.',
  },
  OUTBOX_CH_SEVERAL_SERVERS: {
    policy: 'repeat',
    happened:
      'Several ClickHouse servers answer in turn, and the target table is not replicated: each server has a table of its own, with a part of the events. A repeated insert could count twice, so nothing is inserted while this is so.',
    next: 'Have CLICKHOUSE_URL, or the load balancer that it names, lead to one server; or replicate the table, as docs/clusters.md says. The streamer then goes on by itself. If another server has taken events, copy its rows (INSERT INTO … SELECT … FROM remote(…)) before you run `repair`: `repair` would send them again.',
  },
  OUTBOX_CH_ROWS_HIDDEN: {
    policy: 'repeat',
    happened:
      'A row policy hides rows of the target table from this account, so what is there cannot be told from what is missing.',
    next: 'Name the account in a policy of its own: CREATE ROW POLICY outbox_all ON <table> USING 1 TO <user>; or take it out of the others with `TO ALL EXCEPT <user>`.',
  },
  OUTBOX_CH_UNAVAILABLE: {
    policy: 'repeat',
    happened: 'ClickHouse cannot take the insert now (overloaded, read-only, out of memory, too many parts, 5xx).',
    next: 'Look at ClickHouse. The same insert is repeated until it succeeds; events wait in Postgres.',
  },
  OUTBOX_CH_CLUSTER: {
    policy: 'stop',
    happened:
      'The table cannot be made on the cluster that OUTBOX_CLICKHOUSE_CLUSTER names: ClickHouse does not know it, or a host is down or lacks something.',
    next: 'Correct what `problems` names, then run `pg-outbox-clickhouse migrate` again; it changes nothing that is right already. docs/clusters.md has a configuration that works.',
  },
  OUTBOX_CH_KEEPER_AWAY: {
    policy: 'repeat',
    happened:
      'The replica has no session with ClickHouse Keeper (or ZooKeeper), so that its table is read-only: it takes no insert, and cannot know what other replicas took.',
    next: 'Look at Keeper, and at `SELECT * FROM system.zookeeper_connection` on the replica. The same insert is repeated until it is answered; events wait in Postgres. If Keeper has lost the table’s metadata: SYSTEM RESTORE REPLICA <table>.',
  },
  OUTBOX_CH_REPLICA_BEHIND: {
    policy: 'repeat',
    happened:
      'A look-up has to see all rows, and those alone that stay. The replica that answers has not fetched what other replicas took, or it lost Keeper in the middle of an insert and may yet remove what it shows of it: rows would seem to be missing and be sent twice, or seem to be there and get lost.',
    next: 'Mostly nothing: another replica of CLICKHOUSE_URL is asked, and this one again; parts are checked within some minutes (`parts_to_check` in system.replicas). If it stays: look at `SELECT * FROM system.replication_queue` there. Start the replica that has the missing part; if it will never come back, SYSTEM DROP REPLICA on another one, and what it alone had is sent again as far as it is pending.',
  },
  OUTBOX_CH_REPLICA_AWAY: {
    policy: 'report',
    happened:
      'Fewer replicas of the target table have a session with ClickHouse Keeper than Keeper knows of. Events flow by the others.',
    next: 'Start the replica, or look at its connection to Keeper. If it will never come back: SYSTEM DROP REPLICA on another one. docs/clusters.md says what it alone may have had.',
  },
  OUTBOX_CH_QUORUM: {
    policy: 'repeat',
    happened:
      'Fewer replicas have the insert, or are there to take it, than OUTBOX_INSERT_QUORUM asks for. It does not count as delivered.',
    next: 'Look at `SELECT * FROM system.replicas` and system.replication_queue on the replicas that are behind or away. The same insert is repeated until enough have it; events wait in Postgres. To go on without a replica that will never come back: SYSTEM DROP REPLICA on another one, then lower OUTBOX_INSERT_QUORUM.',
  },
  OUTBOX_CH_QUORUM_UNUSABLE: {
    policy: 'repeat',
    happened:
      'OUTBOX_INSERT_QUORUM is set, and the target table is not replicated: ClickHouse would ignore the quorum.',
    next: 'Set OUTBOX_INSERT_QUORUM=off, or deliver into a replicated table (docs/clusters.md).',
  },
  OUTBOX_CH_ROWS_DROPPED: {
    policy: 'repeat',
    happened:
      'ClickHouse knows the token of an insert, and does not have its rows: a replica has removed the part whose commit had no answer (ClickHouse#112149), the server found the part broken when it started, or somebody has removed the rows.',
    next: 'Nothing now: the rows are looked for, and those that are missing are sent under a new token. If the table is replicated, update ClickHouse to a version with the fix (26.3.33.61, 26.6.5.114, 26.7.7.87, 26.8.3.98 or later).',
  },
  OUTBOX_CH_PROXY: {
    policy: 'repeat',
    happened:
      'The answer is not ClickHouse’s: a proxy, a load balancer or another server gave it. The message has its HTTP status.',
    next: 'Look at what stands between streamer and ClickHouse (413: its limit on bodies; 401, 403, 407: its users; 404, 301: CLICKHOUSE_URL; 502, 503, 504: ClickHouse behind it). The insert is repeated; after 413 in smaller parts.',
  },
  OUTBOX_CH_REFUSED: {
    policy: 'repeat',
    happened:
      'ClickHouse refuses the insert because of its configuration (schema, setting, partition limit or privilege), or refuses every event that is tried alike.',
    next: 'Fix what the ClickHouse code names: look at the table’s columns, defaults and constraints. Where the account limits max_execution_time, set OUTBOX_INSERT_TIMEOUT_MS to no more than that. The insert is repeated until it succeeds; events wait in Postgres.',
  },
  OUTBOX_CH_ROW_REFUSED: {
    policy: 'isolate',
    happened:
      'ClickHouse refuses an insert, and its code does not say that load or configuration is the cause: an event may be at fault, or the table.',
    next: 'Look at constraints and defaults of the table. The streamer looks for the event at fault. It goes to outbox.quarantine if the table takes another meanwhile; the others are delivered.',
  },
  OUTBOX_QUARANTINED: {
    policy: 'report',
    happened: 'ClickHouse rejected events, each sent alone. They are in outbox.quarantine; the others were delivered.',
    next: 'See `pg-outbox-clickhouse quarantine list`, fix the table, then `quarantine retry`; or `quarantine discard`.',
  },
  OUTBOX_QUARANTINE_DROPPED: {
    policy: 'stop',
    happened:
      'A retried event was inserted and is not in the table: ClickHouse took it for a repetition of one that was removed.',
    next: 'Run `pg-outbox-clickhouse quarantine retry` once more: it goes under another token then.',
  },
  OUTBOX_QUARANTINE_FULL: {
    policy: 'repeat',
    happened:
      'ClickHouse refuses rows, and OUTBOX_QUARANTINE_MAX_ROWS events are in quarantine already: the table is probably at fault. The insert is repeated.',
    next: 'Fix the table (a constraint? a default?), or empty the quarantine (`pg-outbox-clickhouse quarantine retry`), or raise the limit.',
  },
  OUTBOX_CH_VIEW_FAILED: {
    policy: 'repeat',
    happened:
      'A materialized view on the table threw, or the table that it fills is not there. The rows may already be in the table; only the same insert with the same token completes the view.',
    next: 'Fix or drop the view (`problems` names those on the table, wherever they are), or create (or attach) the table that it fills. The insert is repeated until it succeeds, and counts once.',
  },
  OUTBOX_CH_VIEW_FORGETS: {
    policy: 'report',
    happened:
      'Materialized views on the table fill tables without a deduplication window, which is ClickHouse’s default, or cannot be looked at: an insert that has to be repeated counts twice there. The table itself is not affected.',
    next: 'For the target of each view named in `problems`: ALTER TABLE … MODIFY SETTING non_replicated_deduplication_window = 10000.',
  },
  OUTBOX_CH_VIEW_DETACHED: {
    policy: 'report',
    happened:
      'Tables or views are detached (DETACH TABLE) in the database of the target table or of its views. ClickHouse does not say what they were: a materialized view on the table gets none of the events that are inserted meanwhile.',
    next: 'If `problems` names a materialized view on the table, run `ATTACH TABLE <view>` in ClickHouse, and fill in by hand what it has missed. Otherwise nothing.',
  },
  OUTBOX_CH_TABLE_REPLACED: {
    policy: 'report',
    happened:
      'Another table has taken the name of the target table, or had done so before the streamer came; or another server answers. RENAME leaves the materialized views named in `problems` on the former table: they see no new events, until ClickHouse is restarted.',
    next: 'Apply the statements that `pg-outbox-clickhouse doctor` prints: ALTER TABLE <view> MODIFY QUERY with the view’s own query hangs it on the table that now has the name. Then fill what the view has missed by hand. If nobody meant to replace the table, run `pg-outbox-clickhouse verify`.',
  },
  OUTBOX_CH_VIEWS_UNPROVEN: {
    policy: 'report',
    happened:
      'Rows of a pending insert that was looked for are in the table, so they count as delivered. Whether the materialized views have them is not known.',
    next: 'Compare the views with the table for the time of the last rows of this source, and fill what is missing by hand.',
  },
  OUTBOX_CH_ANSWER: {
    policy: 'repeat',
    happened:
      'ClickHouse answered in a way that proves nothing: an insert with a body, or with another number of rows; a question with what is not JSON.',
    next: 'Look for a proxy between streamer and ClickHouse. The same insert is repeated until it is answered properly.',
  },
  OUTBOX_CH_FAILED: {
    policy: 'repeat',
    happened: 'ClickHouse answered with a code that is not known here.',
    next: 'Look at the code and ClickHouse’s log. The same insert is repeated until it succeeds.',
  },
} as const satisfies Entries;
