import { PACKAGE_NAME } from '../../package.ts';
import { DEFAULT_SCHEMA } from '../../schema-name.ts';

const MAX_NAME_LENGTH = 63;

/** How a streamer's connections call themselves, until they have something to tell: those of another outbox are told from them. */
export function applicationNameOf(schema: string): string {
  return schema === DEFAULT_SCHEMA ? PACKAGE_NAME : `${PACKAGE_NAME} of ${schema}`.slice(0, MAX_NAME_LENGTH);
}

/**
 * SQL that tells whether a row of pg_stat_activity is a connection of a streamer or of its commands. Any login can take the name,
 * so its role must be one that may write the ledger, by itself or by a role that it is a member of.
 */
export function isStreamerConnection(activity: string): string {
  return `(starts_with(${activity}.application_name, '${PACKAGE_NAME}')
           AND EXISTS (SELECT FROM pg_roles g
                         JOIN pg_class t ON t.relname = 'stream' AND t.relnamespace = to_regnamespace('outbox')
                        WHERE pg_has_role(${activity}.usesysid, g.oid, 'MEMBER') AND has_table_privilege(g.oid, t.oid, 'UPDATE')))`;
}
