import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { DEFAULT_SCHEMA } from '../../../schema-name.ts';
import { EVENT_TABLES, MIGRATIONS, producerOf, referencesToEvents } from '../../source/event-table.ts';
import { foreignGrants } from '../../source/foreign-grants.ts';
import { foreignOwners } from '../../source/owners.ts';
import { LASTING_MS, retentionLock } from '../../retention/retention.ts';
import { bad, command, ok, shell, sql, type Finding } from './finding.ts';
import { MANIFEST_CHECK } from './postgres-manifests.ts';
import { TABLE_CHECKS } from './postgres-table.ts';
import type { PostgresCheck, PostgresSubject } from './subjects.ts';

const BUCKETS = 32;
const OLD_DAYS = 20;

/** What a streamer asks of each object, as migrations/postgres/roles.sql grants it. */
const NEEDED: readonly (readonly [table: string, privileges: readonly string[]])[] = [
  ['event', ['SELECT']],
  ['stream', ['SELECT', 'UPDATE']],
  ['quarantine', ['SELECT', 'INSERT', 'UPDATE', 'DELETE']],
  ['manifest', ['SELECT', 'INSERT']],
  ['erasure', ['SELECT']],
];

/** What `migrate` and roles.sql make. */
export const OBJECT_CHECKS: readonly PostgresCheck[] = [
  { id: 'postgres.replication', examine: replication },
  { id: 'postgres.privileges', examine: privileges },
  { id: 'postgres.producers', examine: producers },
  { id: 'postgres.owners', examine: owners },
  { id: 'postgres.migrations', examine: migrations },
  ...TABLE_CHECKS,
  { id: 'postgres.partitions', examine: partitions },
  { id: 'postgres.retention', examine: retention },
  MANIFEST_CHECK,
  { id: 'postgres.retention_lock', examine: lockOfRetention },
  { id: 'postgres.grants', examine: grants },
];

async function replication({ db, role }: PostgresSubject): Promise<Finding[]> {
  const { rows } = await db.query<{ may: boolean; through: boolean; rds: boolean }>(
    `SELECT rolreplication OR rolsuper AS may,
            EXISTS (SELECT FROM pg_roles g WHERE g.rolname = 'rds_replication' AND pg_has_role(g.oid, 'MEMBER')) AS through,
            EXISTS (SELECT FROM pg_roles WHERE rolname = 'rds_replication') AS rds
       FROM pg_roles WHERE rolname = current_user`,
  );
  const { may, through, rds: isRds } = rows[0]!;
  if (may || through) return [ok('postgres.replication', `${role} may replicate`)];
  const why = 'Without it nothing can be streamed. Who gives it must have it, since Postgres 16.';
  const fix = sql(isRds ? `GRANT rds_replication TO ${role}` : `ALTER ROLE ${role} REPLICATION`);
  return [bad('error', 'postgres.replication', `${role} has no REPLICATION attribute`, why, fix)];
}

/** The owner of the schema is trusted here: who else might be is not known to a streamer's role. */
async function owners({ db }: PostgresSubject): Promise<Finding[]> {
  const id = 'postgres.owners';
  const found = await foreignOwners(db, 'the owner of the schema');
  if (found.length === 0) return [ok(id, `the schema ${db.schema} has one owner`)];
  const why = 'Its owner could do what whoever uses it may: the streamer, `migrate`, every application.';
  return found.map(({ what, fix }) => bad('error', id, what, why, sql(fix)));
}

async function privileges({ db, role, missing }: PostgresSubject): Promise<Finding[]> {
  const id = 'postgres.privileges';
  const { rows: schema } = await db.query<{ usage: boolean }>(
    `SELECT has_schema_privilege(oid, 'USAGE') AS usage FROM pg_namespace WHERE nspname = 'outbox'`,
  );
  if (schema.length === 0) return [];
  const lacking = schema[0]!.usage ? [] : [`USAGE ON SCHEMA ${db.schema}`];
  const wanted = NEEDED.filter(([table]) => !missing.includes(table)).flatMap(([table, names]) =>
    names.map((privilege) => ({ table, privilege })),
  );
  const { rows } = await db.query<{ table: string; privilege: string }>(
    `SELECT w.table, w.privilege FROM jsonb_to_recordset($1) AS w("table" text, privilege text)
       JOIN pg_class c ON c.relname = w.table AND c.relnamespace = 'outbox'::regnamespace
      WHERE NOT has_table_privilege(c.oid, w.privilege)`,
    [JSON.stringify(wanted)],
  );
  lacking.push(...rows.map(({ table, privilege }) => `${privilege} ON ${db.schema}.${table}`));
  if (lacking.length === 0) return [ok(id, `${role} has what it needs`)];
  const why = 'The streamer stops with OUTBOX_PG_PRIVILEGE where it needs them.';
  return lacking.map((what) => bad('error', id, `${role} lacks ${what}`, why, sql(`GRANT ${what} TO ${role}`)));
}

/** Somebody must be able to log in and emit. That a superuser can says nothing of an application. */
async function producers({ db, missing }: PostgresSubject): Promise<Finding[]> {
  const id = 'postgres.producers';
  if (missing.includes('event')) return [];
  const { rows } = await db.query<{ may: number; grantable: boolean }>(
    `SELECT count(*) FILTER (WHERE rolcanlogin AND NOT rolsuper AND has_schema_privilege(oid, 'outbox', 'USAGE')
                               AND has_any_column_privilege(oid, 'outbox.event', 'INSERT'))::int AS may,
            bool_or(rolname = $1) AS grantable
       FROM pg_roles`,
    [producerOf(db.schema)],
  );
  const { may, grantable } = rows[0]!;
  if (may > 0) return [ok(id, may === 1 ? 'one login may emit' : `${may} logins may emit`)];
  const why = `An application that logs in as an ordinary role cannot emit. Allow its role: \`GRANT ${producerOf(db.schema)} TO my_app\`.`;
  const roles = fileURLToPath(new URL('postgres/roles.sql', MIGRATIONS));
  const setting = db.schema === DEFAULT_SCHEMA ? '' : ` -c "SET outbox.schema = ${db.schema}"`;
  const fix = grantable ? [] : [shell(`psql "$ADMIN_URL"${setting} -f '${roles.replaceAll("'", "'\\''")}'`)];
  return [bad('warning', id, 'no role but a superuser may emit events', why, ...fix)];
}

/** Rows are removed from the tables that hold them, which have privileges of their own. */
async function retention({ db, role, missing, config }: PostgresSubject): Promise<Finding[]> {
  const id = 'postgres.retention';
  if (missing.includes('event') || config.retentionDays === 0) return [];
  const { rows } = await db.query<{ table: string }>(
    `SELECT c.oid::regclass::text AS table FROM pg_class c
      WHERE c.relkind = 'r' AND c.oid IN ${EVENT_TABLES}
        AND NOT (has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'TRUNCATE'))
      ORDER BY 1`,
  );
  const keys = await referencesToEvents(db);
  if (keys.length > 0) {
    const why = 'TRUNCATE refuses to empty that partition, so events stay in Postgres: of it, and of all younger ones.';
    return keys.map(({ name, of, to }) =>
      bad(
        'warning',
        id,
        `the foreign key ${name} of ${of} refers to ${to}`,
        why,
        sql(`ALTER TABLE ${of} DROP CONSTRAINT ${name}`),
      ),
    );
  }
  if (rows.length === 0) return [ok(id, `${role} may remove expired events`)];
  const tables = rows.map(({ table }) => table).join(', ');
  const found = `${role} may not remove events from ${rows.length} tables of ${db.schema}.event`;
  const why = `Events stay in Postgres beyond OUTBOX_RETENTION_DAYS (${config.retentionDays}).`;
  return [bad('warning', id, found, why, sql(`GRANT SELECT, TRUNCATE ON ${tables} TO ${role}`))];
}

/** One of ours that is under way is in order, unless it does not end. */
async function lockOfRetention({ db }: PostgresSubject): Promise<Finding[]> {
  const holder = await retentionLock(db);
  if (holder === undefined || (holder.isOurs && holder.seconds * 1000 < LASTING_MS)) return [];
  const why = 'No expired event is removed while it does.';
  return [
    bad('warning', 'postgres.retention_lock', `${holder.what} holds the lock of retention`, why, sql(holder.end)),
  ];
}

/** What applications and others could do beside emitting events. */
async function grants({ db, missing }: PostgresSubject): Promise<Finding[]> {
  const id = 'postgres.grants';
  if (missing.length > 0) return [];
  const found = await foreignGrants(db);
  if (found.length === 0) return [ok(id, 'only the roles of roles.sql may read and write events and the ledger')];
  const why =
    'Who may could read events, say when they were recorded, remove them, or move the ledger. Afterwards run roles.sql again.';
  return found.map(({ what, fix }) => bad('warning', id, what, why, sql(fix)));
}

async function migrations({ db, missing, role }: PostgresSubject): Promise<Finding[]> {
  const id = 'postgres.migrations';
  if (missing.length > 0) {
    const found = `missing: ${missing.map((name) => `${db.schema}.${name}`).join(', ')}`;
    return [bad('error', id, found, 'Applications cannot emit, or nothing is delivered.', command('migrate'))];
  }
  const { rows: access } = await db.query<{ may: boolean }>(
    `SELECT has_table_privilege(c.oid, 'SELECT') AND has_schema_privilege('outbox', 'USAGE') AS may FROM pg_class c
      WHERE c.relname = 'migration' AND c.relnamespace = 'outbox'::regnamespace`,
  );
  if (access[0]?.may === false) {
    const fix = sql(`GRANT SELECT ON ${db.schema}.migration TO ${role}`);
    const why = 'Whether the schema is of this version is not known.';
    return [bad('warning', id, `${db.schema}.migration cannot be read`, why, fix)];
  }
  const { rows } = await db.query<{ last: string | null }>('SELECT max(created_at) AS last FROM outbox.migration');
  const journal = JSON.parse(await readFile(new URL('postgres/meta/_journal.json', MIGRATIONS), 'utf8')) as {
    entries: { when: number; tag: string }[];
  };
  const unapplied = journal.entries.filter(({ when }) => when > Number(rows[0]?.last ?? 0));
  if (unapplied.length === 0) return [ok(id, `${journal.entries.length} applied`)];
  const found = `not applied: ${unapplied.map(({ tag }) => tag).join(', ')}`;
  return [bad('error', id, found, 'The streamer asks for what they make.', command('migrate'))];
}

interface Partition {
  name: string;
  bound: string;
}

async function partitions(postgres: PostgresSubject): Promise<Finding[]> {
  const { db, missing } = postgres;
  if (missing.includes('event')) return [];
  const whole = await db.query("SELECT FROM pg_class WHERE oid = 'outbox.event'::regclass AND relkind = 'r'");
  if (whole.count > 0) return [ok('postgres.partitions', `${db.schema}.event is one table`)];
  // a bound names no column: with the table's OID, Postgres would wait for a lock on it
  const { rows } = await db.query<Partition>(
    `SELECT c.relname AS name, pg_get_expr(c.relpartbound, 0) AS bound
       FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_class p ON p.oid = i.inhparent
      WHERE p.relname = 'event' AND p.relnamespace = 'outbox'::regnamespace`,
  );
  const ring = new Map(rows.flatMap(({ name, bound }) => numbersIn(bound).map((bucket) => [bucket, name] as const)));
  const gaps = Array.from({ length: BUCKETS }, (_, bucket) => bucket).filter((bucket) => !ring.has(bucket));
  const found = gaps.length === 0 ? [ok('postgres.partitions', `${BUCKETS} of ${BUCKETS}`)] : [];
  for (const bucket of gaps) found.push(await gap(postgres, bucket));
  return [...found, ...(await nextBucket(postgres, ring))];
}

function numbersIn(bound: string): number[] {
  return (bound.match(/\d+/g) ?? []).map(Number);
}

async function gap({ db, role }: PostgresSubject, bucket: number): Promise<Finding> {
  const name = `event_${String(bucket).padStart(2, '0')}`;
  const table = `${db.schema}.${name}`;
  const { rows } = await db.query<{ exists: boolean }>(
    `SELECT EXISTS (SELECT FROM pg_class WHERE relname = $1 AND relnamespace = 'outbox'::regnamespace) AS exists`,
    [name],
  );
  const make = rows[0]!.exists
    ? `ALTER TABLE ${db.schema}.event ATTACH PARTITION ${table} FOR VALUES IN (${bucket})`
    : `CREATE TABLE ${table} PARTITION OF ${db.schema}.event FOR VALUES IN (${bucket})`;
  const why = 'On its day, every emit fails and takes the application’s transaction with it.';
  return bad(
    'error',
    'postgres.partitions',
    `no partition for the bucket ${bucket}`,
    why,
    sql(make),
    sql(`GRANT SELECT, TRUNCATE ON ${table} TO ${role}`),
  );
}

/** Tomorrow's partition should have been emptied of what was put into it 31 days ago. */
async function nextBucket({ db }: PostgresSubject, ring: ReadonlyMap<number, string>): Promise<Finding[]> {
  const id = 'postgres.ring';
  const { rows: today } = await db.query<{ bucket: number }>(
    `SELECT ((extract(epoch FROM now())::bigint / 86400 + 1) % ${BUCKETS})::int AS bucket`,
  );
  const name = ring.get(today[0]!.bucket);
  if (name === undefined) return [];
  // the name comes from the catalog, and might be anybody's
  const { rows: quoted } = await db.query<{ table: string }>("SELECT format('outbox.%I', $1::text) AS table", [name]);
  const { table } = quoted[0]!;
  const { rows } = await db.query<{ day: string; old: boolean }>(
    `SELECT to_char(recorded_at, 'YYYY-MM-DD') AS day, recorded_at < now() - interval '${OLD_DAYS} days' AS old FROM ${table} LIMIT 1`,
  );
  if (rows[0]?.old !== true) return [ok(id, `${table}, the next one, is empty`)];
  const why = 'Retention lags behind: the next day’s events go between old ones, which then stay until these expire.';
  return [
    bad('warning', id, `${table}, the next one, still holds events of ${rows[0].day}`, why, command('retention')),
  ];
}
