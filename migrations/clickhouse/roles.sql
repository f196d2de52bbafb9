-- Least privilege in ClickHouse, to be run by an administrator after `pg-outbox-clickhouse migrate`, in the database of the
-- table, and again after each upgrade, which may bring more to grant. All else that is there stays as it is:
--
--   clickhouse-client --host … --user admin --password … --database analytics --queries-file migrations/clickhouse/roles.sql
--
-- outbox_streamer   what the streamer needs, with `status`, `verify`, `repair` and `doctor`. Make a user for it:
--                   CREATE USER streamer IDENTIFIED BY '…'; GRANT outbox_streamer TO streamer;
-- outbox_console    what a console needs that only reads: what outbox_streamer has, but for INSERT.
-- outbox_reader     what queries need: SELECT on the table, nothing else. Who may also make views could stop all events by a
--                   view that fails; SECURITY.md says how to give such a user a view instead.
--
-- Where OUTBOX_CLICKHOUSE_TABLE is not "events", replace the name. On a cluster, write ON CLUSTER <cluster> behind each CREATE ROLE
-- and each GRANT, and add what docs/clusters.md lists.
CREATE ROLE IF NOT EXISTS outbox_streamer;
CREATE ROLE IF NOT EXISTS outbox_console;
CREATE ROLE IF NOT EXISTS outbox_reader;

GRANT SELECT, INSERT ON events TO outbox_streamer;
-- materialized views on the table, and what they fill, are looked at: a view that forgets tokens counts twice. Where some are in
-- other databases, grant it there as well
GRANT SHOW TABLES ON * TO outbox_streamer;
-- what the server says of itself
GRANT SELECT ON system.tables TO outbox_streamer;
GRANT SELECT ON system.columns TO outbox_streamer;
GRANT SELECT ON system.settings TO outbox_streamer;
GRANT SELECT ON system.merge_tree_settings TO outbox_streamer;
GRANT SELECT ON system.processes TO outbox_streamer;
GRANT SELECT ON system.parts TO outbox_streamer;
-- for `repair` and `doctor`
GRANT SELECT ON system.detached_parts TO outbox_streamer;
GRANT SELECT ON system.detached_tables TO outbox_streamer;
GRANT SELECT ON system.disks TO outbox_streamer;

GRANT SELECT ON events TO outbox_console;
GRANT SHOW TABLES ON * TO outbox_console;
GRANT SELECT ON system.tables TO outbox_console;
GRANT SELECT ON system.columns TO outbox_console;
GRANT SELECT ON system.settings TO outbox_console;
GRANT SELECT ON system.merge_tree_settings TO outbox_console;
GRANT SELECT ON system.processes TO outbox_console;
GRANT SELECT ON system.parts TO outbox_console;
GRANT SELECT ON system.detached_parts TO outbox_console;
GRANT SELECT ON system.detached_tables TO outbox_console;
GRANT SELECT ON system.disks TO outbox_console;

GRANT SELECT ON events TO outbox_reader;
