import type { Database } from './database.ts';
import { consoleOf, eraserOf, EVENT_TABLES, streamerOf } from './event-table.ts';

/** What a role may do with the tables of the outbox beside what roles.sql grants, and the statement that ends it. */
export interface ForeignGrant {
  readonly what: string;
  readonly fix: string;
}

/**
 * Default privileges, and grants on all tables of a schema, reach these tables, too. Left out are superusers, owners, this role, what
 * roles.sql grants, and who may only look at how far delivery is. Throws OUTBOX_PG_*.
 */
export async function foreignGrants(db: Database): Promise<ForeignGrant[]> {
  const { rows } = await db.query<ForeignGrant>(
    `WITH home AS (SELECT oid, nspowner FROM pg_namespace WHERE nspname = 'outbox'),
          leaf AS (SELECT oid FROM pg_class WHERE relkind = 'r' AND oid IN ${EVENT_TABLES}),
          held AS (
            SELECT c.oid, c.relname, c.relowner, x.grantee, x.privilege_type AS privilege, NULL::name AS part
              FROM pg_class c JOIN home ON c.relnamespace = home.oid, aclexplode(c.relacl) x WHERE c.relkind IN ('r', 'p')
            UNION ALL
            SELECT c.oid, c.relname, c.relowner, x.grantee, x.privilege_type, t.attname
              FROM pg_class c JOIN home ON c.relnamespace = home.oid JOIN pg_attribute t ON t.attrelid = c.oid, aclexplode(t.attacl) x
             WHERE c.relkind IN ('r', 'p') AND NOT t.attisdropped),
          foreign_held AS (
            SELECT h.*, g.rolname FROM held h LEFT JOIN pg_roles g ON g.oid = grantee
             WHERE grantee <> relowner AND grantee <> (SELECT nspowner FROM home)
               AND NOT coalesce(g.rolsuper OR g.rolname = current_user, false)
               AND (privilege IN ('UPDATE', 'DELETE', 'TRUNCATE')
                    OR (privilege = 'SELECT' AND relname NOT IN ('stream', 'manifest', 'erasure', 'migration'))
                    OR (privilege = 'INSERT' AND (part IS NULL OR relname <> 'event' OR part IN ('recorded_at', 'recorded_by', 'bucket'))))
               AND NOT (coalesce(g.rolname = $2, false) AND part IS NULL AND relname IN ('event', 'quarantine') AND privilege = 'SELECT')
               AND NOT (coalesce(g.rolname = $3, false) AND part IS NULL
                        AND ((relname IN ('event', 'quarantine') AND privilege IN ('SELECT', 'DELETE')) OR (relname = 'erasure' AND privilege IN ('INSERT', 'UPDATE'))))
               AND NOT (coalesce(g.rolname = $1, false) AND part IS NULL
                        AND (relname = 'quarantine' OR (relname = 'stream' AND privilege = 'UPDATE') OR (relname = 'manifest' AND privilege = 'INSERT') OR (relname = 'event' AND privilege = 'SELECT')
                             OR (h.oid IN (SELECT oid FROM leaf) AND privilege IN ('SELECT', 'TRUNCATE'))))),
          told AS (
            SELECT oid, relname, coalesce(quote_ident(rolname), 'PUBLIC') AS who,
                   string_agg(DISTINCT privilege || coalesce(' (' || quote_ident(part) || ')', ''), ', ') AS privileges
              FROM foreign_held GROUP BY 1, 2, 3)
     SELECT format('%s may %s on %s', who, privileges,
                   CASE WHEN count(*) = 1 THEN min(oid::regclass::text) ELSE format('%s and %s others', min(oid::regclass::text), count(*) - 1) END) AS what,
            format('REVOKE %s ON %s FROM %s', privileges, string_agg(oid::regclass::text, ', ' ORDER BY relname), who) AS fix
       FROM told GROUP BY who, privileges ORDER BY 1`,
    [streamerOf(db.schema), consoleOf(db.schema), eraserOf(db.schema)],
  );
  return rows;
}
