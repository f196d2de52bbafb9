import type { Database } from './database.ts';

/**
 * By what each service is known: a setting that only its own server has, and that every role may read. Roles are no sign, because a dump
 * takes them along to other servers; Supabase has nothing else. Aurora is RDS, with a function more.
 */
const SIGNS = {
  'Amazon Aurora': `${has('rds.logical_replication')} AND EXISTS (SELECT FROM pg_proc WHERE proname = 'aurora_version')`,
  'Amazon RDS': has('rds.logical_replication'),
  'Google Cloud SQL': has('cloudsql.logical_decoding'),
  'Azure Database': has('azure.extensions'),
  Neon: has('neon.timeline_id'),
  Supabase: "EXISTS (SELECT FROM pg_roles WHERE rolname = 'supabase_admin')",
} as const;

/** Somebody's Postgres whose users are no superusers, and change settings elsewhere than in SQL. */
export type ServiceName = keyof typeof SIGNS;

/** What a crash of the host cannot undo there, whatever the setting says: WAL and pages are kept elsewhere. */
export const HARMLESS: Readonly<Partial<Record<ServiceName, readonly string[]>>> = {
  Neon: ['fsync', 'full_page_writes'],
  'Amazon Aurora': ['full_page_writes'],
};

/** Which managed service the server is of; undefined for any other server. */
export async function serviceOf(db: Database): Promise<ServiceName | undefined> {
  const cases = Object.entries(SIGNS).map(([name, sign]) => `WHEN ${sign} THEN '${name}'`);
  const { rows } = await db.query<{ service: ServiceName | null }>(`SELECT CASE ${cases.join(' ')} END AS service`);
  return rows[0]!.service ?? undefined;
}

function has(setting: string): string {
  return `coalesce(current_setting('${setting}', true), '') <> ''`;
}
