import { OutboxError } from '../../errors.ts';
import type { Database } from './database.ts';

/** What stands in the schema outbox that a role could abuse which is not trusted, and how that ends. */
export interface ForeignOwner {
  readonly what: string;
  readonly fix: string;
}

/** The first OID of what users make. */
const FIRST_OF_USERS = 16_384;

/** Objects that have an owner and run as part of others, and where the catalog says whose they are. */
const OWNED = [
  ['pg_class', 'relowner'],
  ['pg_proc', 'proowner'],
  ['pg_operator', 'oprowner'],
  ['pg_type', 'typowner'],
  ['pg_opclass', 'opcowner'],
  ['pg_opfamily', 'opfowner'],
  ['pg_collation', 'collowner'],
  ['pg_language', 'lanowner'],
  ['pg_foreign_server', 'srvowner'],
  ['pg_foreign_data_wrapper', 'fdwowner'],
] as const;

/** What belongs to the tables and views whose OIDs are `ours`, and is code or names it. */
const PARTS = [
  ['pg_attrdef', 'adrelid'],
  ['pg_constraint', 'conrelid'],
  ['pg_trigger', 'tgrelid'],
  ['pg_policy', 'polrelid'],
  ['pg_rewrite', 'ev_class'],
  ['pg_index', 'indrelid'],
] as const;

/**
 * What stands in the schema, what is part of it (indexes, defaults, constraints, triggers, policies, partitions elsewhere), and what
 * all that uses: functions, operators, types and what these use in their turn, as the catalog of dependencies has it.
 */
const REACHED = `
  home AS (SELECT oid, nspowner, nspacl FROM pg_namespace WHERE nspname = 'outbox'),
  ours AS (
    SELECT c.oid FROM pg_class c JOIN home ON c.relnamespace = home.oid
     UNION
    SELECT inhrelid FROM ours JOIN pg_inherits ON inhparent = ours.oid
  ),
  part AS (
    SELECT 'pg_class'::regclass::oid AS classid, oid AS objid FROM ours
     UNION SELECT 'pg_proc'::regclass, p.oid FROM pg_proc p JOIN home ON pronamespace = home.oid
     UNION SELECT 'pg_operator'::regclass, o.oid FROM pg_operator o JOIN home ON oprnamespace = home.oid
     UNION SELECT 'pg_type'::regclass, t.oid FROM pg_type t JOIN home ON typnamespace = home.oid
     ${PARTS.map(([catalog, of]) =>
       catalog === 'pg_index'
         ? `UNION SELECT 'pg_class'::regclass, indexrelid FROM ${catalog} JOIN ours ON ${of} = ours.oid`
         : `UNION SELECT '${catalog}'::regclass, ${catalog}.oid FROM ${catalog} JOIN ours ON ${of} = ours.oid`,
     ).join('\n     ')}
  ),
  reached AS (
    SELECT classid, objid FROM part
     UNION
    SELECT uses.classid, uses.objid
      FROM reached r,
           LATERAL (SELECT d.refclassid AS classid, d.refobjid AS objid FROM pg_depend d
                     WHERE d.classid = r.classid AND d.objid = r.objid AND d.refobjid >= ${FIRST_OF_USERS}
                       AND d.refclassid NOT IN ('pg_namespace'::regclass, 'pg_extension'::regclass)
                     UNION ALL
                    SELECT 'pg_constraint'::regclass, k.oid FROM pg_constraint k
                     WHERE r.classid = 'pg_type'::regclass AND k.contypid = r.objid) AS uses
  )`;

/**
 * What runs in a schema runs with the rights of whoever calls it: a trigger, a default, an operator in the expression of an index that
 * somebody else owns, or may still make. Trusted are superusers, and this role or the schema's owner.
 *
 * @param trusted who may own things beside superusers
 */
export async function foreignOwners(
  db: Database,
  trusted: 'this role' | 'the owner of the schema',
): Promise<ForeignOwner[]> {
  const { rows } = await db.query<{ what: string; fix: string }>(
    `WITH RECURSIVE ${REACHED},
          keeper AS (SELECT r.oid, quote_ident(r.rolname) AS name FROM pg_roles r
                      WHERE r.oid = CASE WHEN $1 THEN (SELECT oid FROM pg_roles WHERE rolname = current_user) ELSE (SELECT nspowner FROM home) END),
          trusted AS (SELECT oid FROM pg_roles WHERE rolsuper UNION SELECT oid FROM keeper),
          owned AS (
            SELECT 'pg_namespace'::regclass::oid AS classid, oid AS objid, nspowner AS owner FROM home
            ${OWNED.map(
              ([catalog, owner]) =>
                `UNION ALL SELECT r.classid, r.objid, o.${owner} FROM reached r JOIN ${catalog} o ON r.classid = '${catalog}'::regclass AND o.oid = r.objid`,
            ).join('\n            ')}
          ),
          foreign_owned AS (
            SELECT owned.*, i.type, i.identity FROM owned, pg_identify_object(classid, objid, 0) AS i
             WHERE owner NOT IN (SELECT oid FROM trusted)
               -- what follows its table: indexes, sequences of columns, types of rows
               AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = owned.classid AND d.objid = owned.objid
                                  AND (d.deptype = 'i' OR (d.deptype = 'a' AND d.refclassid = 'pg_class'::regclass))
                                  AND NOT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = owned.objid))
               AND i.type NOT LIKE 'index%'
          )
     SELECT format('the %s %s belongs to %I', type, identity, (SELECT rolname FROM pg_roles WHERE oid = owner)) AS what,
            CASE WHEN type = 'schema' OR classid = 'pg_class'::regclass
                 THEN format('ALTER %s %s OWNER TO %s', upper(type), identity, (SELECT name FROM keeper))
                 ELSE format('DROP %s %s CASCADE', upper(type), identity) END AS fix
       FROM foreign_owned
      UNION ALL
     SELECT format('%s may create in the schema outbox', coalesce((SELECT quote_ident(rolname) FROM pg_roles WHERE oid = grantee), 'PUBLIC')),
            format('REVOKE CREATE ON SCHEMA outbox FROM %s', coalesce((SELECT quote_ident(rolname) FROM pg_roles WHERE oid = grantee), 'PUBLIC'))
       FROM home, aclexplode(nspacl) WHERE privilege_type = 'CREATE' AND grantee NOT IN (SELECT oid FROM trusted)
      UNION ALL
     SELECT format('the publication %I belongs to %I', pubname, (SELECT rolname FROM pg_roles WHERE oid = pubowner)),
            format('ALTER PUBLICATION %I OWNER TO %s', pubname, (SELECT name FROM keeper))
       FROM pg_publication WHERE pubname ~ '^outbox(_[0-9]+_of_[0-9]+)?$' AND pubowner NOT IN (SELECT oid FROM trusted)
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
    detail: `the schema ${db.schema} is not this role’s alone`,
    problems: found.map(({ what, fix }) => `${what}: ${fix}`),
  });
}
