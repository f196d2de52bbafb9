/** The name of this package, under which its spans and logs go. */
export const PACKAGE_NAME = 'pg-outbox-clickhouse';
