import { OutboxError } from '../../errors.ts';
import type { Database } from './database.ts';

/** What stands in the schema outbox that a role could abuse which is not trusted, and how that ends. */
export interface ForeignOwner {
  readonly what: string;
  readonly fix: string;
}

/**
 * What runs in a schema runs with the rights of whoever calls it: a trigger, a default, a function that somebody else owns, or may
 * still make. Trusted are superusers, and this role or the schema's owner.
 *
 * @param trusted who may own things beside superusers
 */
export async function foreignOwners(
  db: Database,
  trusted: 'this role' | 'the owner of the schema',
): Promise<ForeignOwner[]> {
  const { rows } = await db.query<{ what: string; fix: string }>(
    `WITH home AS (SELECT oid, nspowner, nspacl FROM pg_namespace WHERE nspname = 'outbox'),
          keeper AS (SELECT r.oid, quote_ident(r.rolname) AS name FROM pg_roles r
                      WHERE r.oid = CASE WHEN $1 THEN (SELECT oid FROM pg_roles WHERE rolname = current_user) ELSE (SELECT nspowner FROM home) END),
          trusted AS (SELECT oid FROM pg_roles WHERE rolsuper UNION SELECT oid FROM keeper),
          found AS (
            SELECT 1 AS n, 'the schema outbox' AS what, nspowner AS owner, 'SCHEMA outbox' AS object FROM home
             UNION ALL
            SELECT 2, format('outbox.%I', relname), relowner,
                   format('%s outbox.%I', CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE'
                                                       WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END, relname)
              FROM pg_class JOIN home ON relnamespace = home.oid WHERE relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
             UNION ALL
            SELECT 3, format('the function %s', p.oid::regprocedure), proowner, format('FUNCTION %s', p.oid::regprocedure)
              FROM pg_proc p JOIN home ON pronamespace = home.oid
             UNION ALL
            SELECT 4, format('%s, the function of the trigger %I on %s', p.oid::regprocedure, tgname, tgrelid::regclass), proowner,
                   format('FUNCTION %s', p.oid::regprocedure)
              FROM pg_trigger JOIN pg_proc p ON p.oid = tgfoid JOIN pg_class c ON c.oid = tgrelid JOIN home ON c.relnamespace = home.oid
             WHERE NOT tgisinternal
             UNION ALL
            SELECT DISTINCT 5, format('%s, which %s uses', p.oid::regprocedure, pg_describe_object(d.classid, d.objid, 0)), p.proowner,
                   format('FUNCTION %s', p.oid::regprocedure)
              FROM pg_depend d JOIN pg_proc p ON d.refclassid = 'pg_proc'::regclass AND d.refobjid = p.oid
             WHERE (d.classid, d.objid) IN (
                     SELECT 'pg_trigger'::regclass::oid, t.oid FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN home ON c.relnamespace = home.oid
                      UNION ALL
                     SELECT 'pg_attrdef'::regclass::oid, a.oid FROM pg_attrdef a JOIN pg_class c ON c.oid = a.adrelid JOIN home ON c.relnamespace = home.oid
                      UNION ALL
                     SELECT 'pg_constraint'::regclass::oid, k.oid FROM pg_constraint k JOIN home ON k.connamespace = home.oid
                      UNION ALL
                     SELECT 'pg_rewrite'::regclass::oid, w.oid FROM pg_rewrite w JOIN pg_class c ON c.oid = w.ev_class JOIN home ON c.relnamespace = home.oid))
     SELECT format('%s belongs to %I', what, (SELECT rolname FROM pg_roles WHERE oid = owner)) AS what,
            format('ALTER %s OWNER TO %s', object, (SELECT name FROM keeper)) AS fix
       FROM found WHERE owner NOT IN (SELECT oid FROM trusted)
      UNION ALL
     SELECT format('%s may create in the schema outbox', coalesce((SELECT quote_ident(rolname) FROM pg_roles WHERE oid = grantee), 'PUBLIC')),
            format('REVOKE CREATE ON SCHEMA outbox FROM %s', coalesce((SELECT quote_ident(rolname) FROM pg_roles WHERE oid = grantee), 'PUBLIC'))
       FROM home, aclexplode(nspacl) WHERE privilege_type = 'CREATE' AND grantee NOT IN (SELECT oid FROM trusted)
      UNION ALL
     SELECT format('%s may make triggers on outbox.%I', coalesce((SELECT quote_ident(rolname) FROM pg_roles WHERE oid = grantee), 'PUBLIC'), relname),
            format('REVOKE TRIGGER ON outbox.%I FROM %s', relname, coalesce((SELECT quote_ident(rolname) FROM pg_roles WHERE oid = grantee), 'PUBLIC'))
       FROM pg_class JOIN home ON relnamespace = home.oid, aclexplode(relacl)
      WHERE privilege_type = 'TRIGGER' AND grantee NOT IN (SELECT oid FROM trusted) AND grantee <> relowner`,
    [trusted === 'this role'],
  );
  return rows;
}

/** Throws OUTBOX_PG_OWNER unless all of the schema outbox is this role's or a superuser's, and nobody else may add to it. */
export async function checkOwners(db: Database): Promise<void> {
  const found = await foreignOwners(db, 'this role');
  if (found.length === 0) return;
  throw new OutboxError('OUTBOX_PG_OWNER', {
    detail: 'the schema outbox is not this role’s alone',
    problems: found.map(({ what, fix }) => `${what}: ${fix}`),
  });
}
