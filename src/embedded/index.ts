/** Real Postgres and ClickHouse servers out of npm packages, for users' tests. */
export { startClickHouse } from './clickhouse.ts';
export type { EmbeddedClickHouse, EmbeddedClickHouseOptions } from './clickhouse.ts';
export type { ClickHouseUser } from './clickhouse-config.ts';
export { startPostgres } from './postgres.ts';
export type { EmbeddedPostgres, EmbeddedPostgresOptions, StopMode } from './postgres.ts';
export { startServices } from './services.ts';
export type { Services, ServicesOptions } from './services.ts';
export type { EmbeddedStreamer, StreamerSettings } from './streamer.ts';
