import type { Config } from '../../config.ts';
import { Database } from '../../source/database.ts';
import { findingOf, lookAt, ok, shell } from './finding.ts';
import type { Check, Finding } from './finding.ts';
import { FAILOVER_CHECKS } from './postgres-failover.ts';
import { OBJECT_CHECKS } from './postgres-objects.ts';
import { SERVER_CHECKS } from './postgres-server.ts';
import { SLOT_CHECKS } from './postgres-slot.ts';
import { STANDBY_CHECKS } from './postgres-standby.ts';

/** What every check of Postgres may want to know. */
export interface Postgres {
  readonly db: Database;
  readonly config: Config;
  /** Of the server, such as 180004. */
  readonly version: number;
  /** Settings of the server, in its own units; undefined where it does not have them. */
  readonly settings: ReadonlyMap<string, string>;
  readonly isStandby: boolean;
  /** Which of the outbox's tables are missing. */
  readonly missing: readonly string[];
  /** The role, quoted. */
  readonly role: string;
}

export type PostgresCheck = Check<Postgres>;

interface Row {
  version: number;
  standby: boolean;
  role: string;
  missing: string[];
}

/** Everything about Postgres. Never throws for what Postgres says. */
export async function examinePostgres(config: Config): Promise<Finding[]> {
  let db: Database;
  try {
    db = await Database.connect(config.databaseUrl, {}, () => undefined);
  } catch (error) {
    return [findingOf('postgres.connection', error, shell(`psql "$DATABASE_URL" -c 'SELECT 1'`))];
  }
  try {
    // not to be taken for a streamer that stands by
    await db.query("SELECT set_config('application_name', 'pg-outbox-clickhouse doctor', false)");
    const postgres = await introduce(db, config);
    const findings = [ok('postgres.connection', 'reachable'), ...(await lookAt(SERVER_CHECKS, postgres))];
    if (postgres.isStandby) return [...findings, ...(await lookAt(STANDBY_CHECKS, postgres))];
    findings.push(...(await lookAt(OBJECT_CHECKS, postgres)));
    if (postgres.missing.length === 0) findings.push(...(await lookAt([...SLOT_CHECKS, ...FAILOVER_CHECKS], postgres)));
    return findings;
  } catch (error) {
    return [findingOf('postgres.connection', error)];
  } finally {
    await db.close();
  }
}

async function introduce(db: Database, config: Config): Promise<Postgres> {
  const { rows } = await db.query<Row>(
    `SELECT current_setting('server_version_num')::int AS version, pg_is_in_recovery() AS standby,
            quote_ident(current_user) AS role,
            ARRAY(SELECT name FROM unnest(ARRAY['event', 'stream', 'quarantine']) AS name
                   WHERE NOT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                                      WHERE n.nspname = 'outbox' AND c.relname = name)) AS missing`,
  );
  const { rows: settings } = await db.query<{ name: string; setting: string }>('SELECT name, setting FROM pg_settings');
  const { version, standby: isStandby, role, missing } = rows[0]!;
  const named = new Map(settings.map(({ name, setting }) => [name, setting]));
  return { db, config, version, settings: named, isStandby, missing, role };
}
