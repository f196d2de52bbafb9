import { formatLsn, type Lsn } from '../../lsn.ts';
import { PACKAGE_NAME } from '../../package.ts';

/** What a streamer tells everybody about its delivery, once a second. */
export interface Published {
  /** Everything before it is delivered, whether the ledger says so yet or not. */
  readonly appliedLsn: Lsn;
  /** When the oldest was committed that it has not delivered, in ms since 1970; undefined when there is none. */
  readonly oldestMs: number | undefined;
}

/**
 * The name by which the holder of a ledger calls its connection: every role sees it in pg_stat_activity, while only a few may see
 * how far a walsender is. At most 52 bytes of the 63 that Postgres keeps.
 */
export function publishedName({ appliedLsn, oldestMs }: Published): string {
  return `${PACKAGE_NAME} ${formatLsn(appliedLsn)} ${oldestMs === undefined ? '-' : Math.round(oldestMs)}`;
}

/** The same read back, as expressions over a row `a` of pg_stat_activity; NULL where the name is another. */
export const PUBLISHED_LSN = `substring(a.application_name FROM '^${PACKAGE_NAME} ([0-9A-F]+/[0-9A-F]+)(?: |$)')::pg_lsn`;
export const PUBLISHED_OLDEST_MS = `substring(a.application_name FROM '^${PACKAGE_NAME} [0-9A-F/]+ ([0-9]+)$')::float8`;
