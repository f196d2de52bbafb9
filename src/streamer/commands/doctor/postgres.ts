import type { Config } from '../../config.ts';
import { Database } from '../../source/database.ts';
import { refuseForeign } from '../../source/foreign-tables.ts';
import { serviceOf } from '../../source/service.ts';
import { findingOf, ok, runChecks, shell, type Finding } from './finding.ts';
import { DELIVERED_CHECKS } from './postgres-delivered.ts';
import { ERASURE_CHECKS } from './postgres-erasures.ts';
import { FAILOVER_CHECKS } from './postgres-failover.ts';
import { OBJECT_CHECKS } from './postgres-objects.ts';
import { POOLER_CHECKS } from './postgres-pooler.ts';
import { SERVER_CHECKS } from './postgres-server.ts';
import { SLOT_CHECKS } from './postgres-slot.ts';
import { STANDBY_CHECKS } from './postgres-standby.ts';
import type { PostgresSubject } from './subjects.ts';

/** What a locked table keeps from one check, it does not keep from the next one. */
const PARAMETERS = { lock_timeout: '500ms', statement_timeout: '9s' } as const;

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
    db = await Database.connect(config, { parameters: PARAMETERS }, () => undefined);
  } catch (error) {
    return [findingOf('postgres.connection', error, shell(`psql "$DATABASE_URL" -c 'SELECT 1'`))];
  }
  try {
    // not to be taken for a streamer that stands by
    await db.query("SELECT set_config('application_name', 'pg-outbox-clickhouse doctor', false)");
    const postgres = await introduce(db, config);
    const findings = [ok('postgres.connection', 'reachable'), ...(await runChecks(SERVER_CHECKS, postgres))];
    if (postgres.isStandby) return [...findings, ...(await runChecks(STANDBY_CHECKS, postgres))];
    const foreign = await runChecks([{ id: 'postgres.table', examine: foreignTables }], postgres);
    // nothing that could be said of somebody else's tables would help
    if (foreign.length > 0) return [...findings, ...foreign];
    findings.push(...(await runChecks(OBJECT_CHECKS, postgres)));
    if (postgres.missing.length === 0)
      findings.push(
        ...(await runChecks([...SLOT_CHECKS, ...FAILOVER_CHECKS, ...DELIVERED_CHECKS, ...ERASURE_CHECKS], postgres)),
      );
    return [...findings, ...(await runChecks(POOLER_CHECKS, postgres))];
  } catch (error) {
    return [findingOf('postgres.connection', error)];
  } finally {
    await db.close();
  }
}

async function foreignTables({ db }: PostgresSubject): Promise<Finding[]> {
  await refuseForeign(db);
  return [];
}

async function introduce(db: Database, config: Config): Promise<PostgresSubject> {
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
  return { db, config, version, settings: named, isStandby, service: await serviceOf(db), missing, role };
}
