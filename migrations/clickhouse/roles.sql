-- Least privilege in ClickHouse, to be run by an administrator after `pg-outbox-clickhouse migrate`, in the database of the
-- table, and again after each upgrade, which may bring more to grant. All else that is there stays as it is:
--
--   clickhouse-client --host … --user admin --password … --database analytics --queries-file migrations/clickhouse/roles.sql
--
-- outbox_reader     what queries need: SELECT on the table, nothing else. A user who may also make views could stop all events
--                   by a view that fails; SECURITY.md says how to give such a user a view instead.
-- outbox_analyst    SELECT on the views that `pg-outbox-clickhouse catalog … --database event_catalog` makes, and not on the table.
-- outbox_console    what an operator or a console needs to look: queries, `status`, `verify`, `repair --dry-run` and `doctor`.
--                   It writes nothing, and `doctor` says that it may not insert.
-- outbox_streamer   the same, and INSERT: what the streamer needs, `repair` and `quarantine retry`. Make a user for it:
--                   CREATE USER streamer IDENTIFIED BY '…'; GRANT outbox_streamer TO streamer;
-- outbox_eraser     what `erase` needs: to delete rows for ever, and to keep tombstones of them. Give it to nobody else.
--
-- Where OUTBOX_CLICKHOUSE_TABLE is not "events", replace the name. On a cluster, write ON CLUSTER <cluster> behind each name of a new
-- role and behind each word GRANT, and add what docs/clusters.md lists.
CREATE ROLE IF NOT EXISTS outbox_reader;
CREATE ROLE IF NOT EXISTS outbox_analyst;
CREATE ROLE IF NOT EXISTS outbox_console;
CREATE ROLE IF NOT EXISTS outbox_streamer;
CREATE ROLE IF NOT EXISTS outbox_eraser;

GRANT SELECT ON events TO outbox_reader;
-- with OUTBOX_MANIFESTS=on: what `verify --manifests` needs, and the streamer to write them. Nobody may ALTER either table
GRANT SELECT ON events_manifests TO outbox_reader;

GRANT SELECT ON event_catalog.* TO outbox_analyst;

GRANT outbox_reader TO outbox_console;
-- materialized views on the table, and what they fill, are looked at: a view that forgets tokens counts twice. Where some are in
-- other databases, grant it there as well
GRANT SHOW TABLES ON * TO outbox_console;
-- what the server says of itself
GRANT SELECT ON system.tables TO outbox_console;
GRANT SELECT ON system.columns TO outbox_console;
GRANT SELECT ON system.settings TO outbox_console;
GRANT SELECT ON system.merge_tree_settings TO outbox_console;
GRANT SELECT ON system.processes TO outbox_console;
GRANT SELECT ON system.parts TO outbox_console;
GRANT SELECT ON system.detached_parts TO outbox_console;
GRANT SELECT ON system.detached_tables TO outbox_console;
GRANT SELECT ON system.disks TO outbox_console;

GRANT outbox_console TO outbox_streamer;
GRANT INSERT ON events TO outbox_streamer;
GRANT INSERT ON events_manifests TO outbox_streamer;

GRANT outbox_console TO outbox_eraser;
GRANT ALTER DELETE ON events TO outbox_eraser;
-- the first `erase` makes them; on a cluster also events_all_erased and events_all_erasures, which read those of all shards
GRANT TABLE ENGINE ON ReplacingMergeTree TO outbox_eraser;
GRANT CREATE TABLE ON events_erased TO outbox_eraser;
GRANT SELECT ON events_erased TO outbox_eraser;
GRANT INSERT ON events_erased TO outbox_eraser;
GRANT CREATE TABLE ON events_erasures TO outbox_eraser;
GRANT INSERT ON events_erasures TO outbox_eraser;
