import type { ClickHouse } from '../../clickhouse/client.ts';
import type { Config } from '../../config.ts';
import type { Database } from '../../source/database.ts';
import type { ServiceName } from '../../source/service.ts';
import type { Check } from './finding.ts';

/** What every check of Postgres may want to know. */
export interface PostgresSubject {
  readonly db: Database;
  readonly config: Config;
  /** Of the server, such as 180004. */
  readonly version: number;
  /** Settings of the server, in its own units; undefined where it does not have them. */
  readonly settings: ReadonlyMap<string, string>;
  readonly isStandby: boolean;
  /** The managed service that runs it, where it is known. */
  readonly service: ServiceName | undefined;
  /** Which of the outbox's tables are missing. */
  readonly missing: readonly string[];
  /** The role, quoted. */
  readonly role: string;
}

export type PostgresCheck = Check<PostgresSubject>;

/** What every check of ClickHouse may want to know. */
export interface ClickHouseSubject {
  readonly clickhouse: ClickHouse;
  readonly config: Config;
  /** Database and name of the table, each quoted. */
  readonly table: string;
  /** The same behind ALTER TABLE: on a cluster, each host has settings of its own. */
  readonly altered: string;
  readonly user: string;
}

export type ClickHouseCheck = Check<ClickHouseSubject>;

/** As an identifier of ClickHouse. */
export function quoted(name: string): string {
  return `\`${name.replaceAll(/[`\\]/g, '\\$&')}\``;
}
