import { bad, ok, shell, type Finding } from './finding.ts';
import { setting } from './managed.ts';
import type { PostgresCheck, PostgresSubject } from './subjects.ts';

/** What the primary needs so that a failover takes the slot along. Only where that is wanted, or where the slot says so. */
export const FAILOVER_CHECKS: readonly PostgresCheck[] = [
  { id: 'postgres.slot_failover', examine: slot },
  { id: 'postgres.synchronized_standbys', examine: standbys },
];

async function slot({ db, config, version }: PostgresSubject): Promise<Finding[]> {
  const id = 'postgres.slot_failover';
  if (config.slotFailover !== 'on') return [];
  if (version < 170_000) return [bad('error', id, 'Postgres is older than 17', 'It cannot copy slots to a standby.')];
  const { rows } = await db.query<{ failover: boolean }>(
    'SELECT failover FROM pg_replication_slots WHERE slot_name = $1',
    [config.slot],
  );
  if (rows[0] === undefined) return [];
  if (rows[0].failover) return [ok(id, 'standbys may copy the slot')];
  const why = 'OUTBOX_SLOT_FAILOVER is on, but standbys do not copy this slot. Stop the streamers first.';
  const next = config.databaseUrl.includes('?') ? '&' : '?';
  const alter = `ALTER_REPLICATION_SLOT ${config.slot} (FAILOVER true)`;
  const fix = shell(`psql "$DATABASE_URL${next}replication=database" -c "${alter}"`);
  return [bad('error', id, 'the slot is not a failover slot', why, fix)];
}

interface Standby {
  name: string;
  active: boolean;
  feedback: boolean;
}

/** The standbys that the streamer must not overtake. */
async function standbys(postgres: PostgresSubject): Promise<Finding[]> {
  const { db, config, settings } = postgres;
  if (!settings.has('synchronized_standby_slots')) return [];
  // the walsender waits by the slot's own property, whatever this environment says
  const { rows: ours } = await db.query<{ failover: boolean }>(
    'SELECT failover FROM pg_replication_slots WHERE slot_name = $1 AND database = current_database()',
    [config.slot],
  );
  if (config.slotFailover !== 'on' && ours[0]?.failover !== true) return [];
  const { rows: slots } = await db.query<Standby>(
    `SELECT slot_name AS name, active, xmin IS NOT NULL OR catalog_xmin IS NOT NULL AS feedback
       FROM pg_replication_slots WHERE slot_type = 'physical' ORDER BY slot_name`,
  );
  const wanted = (settings.get('synchronized_standby_slots') ?? '').split(',').map((name) => name.trim());
  const names = wanted.filter((name) => name !== '');
  if (names.length === 0) return config.slotFailover === 'on' ? [unnamed(postgres, slots)] : [];
  return names.map((name) => named(postgres, name, names, slots));
}

function unnamed(postgres: PostgresSubject, slots: readonly Standby[]): Finding {
  const id = 'postgres.synchronized_standbys';
  const attached = slots.filter(({ active }) => active).map(({ name }) => name);
  const why =
    'The streamer may be ahead of the standby: what a failover then loses, ClickHouse has. How to attach one: docs/failover.md.';
  // a name that nobody answers to would hold up the stream
  const fix = attached.length === 0 ? [] : setting(postgres, 'synchronized_standby_slots', attached.join(', '));
  return bad('warning', id, 'synchronized_standby_slots is empty', why, ...fix);
}

function named(postgres: PostgresSubject, name: string, names: readonly string[], slots: readonly Standby[]): Finding {
  const id = 'postgres.synchronized_standbys';
  const found = slots.find((one) => one.name === name);
  if (found?.active !== true) {
    const what = found === undefined ? `there is no physical slot "${name}"` : `the standby "${name}" is away`;
    const why = 'The streamer waits for it: events are late until it is back, or its name is removed.';
    const others = names.filter((other) => other !== name).join(', ');
    return bad('error', id, what, why, ...setting(postgres, 'synchronized_standby_slots', others));
  }
  if (found.feedback) return ok(id, `"${name}" is attached`);
  const why = 'Without it, the copy of the slot on the standby can be lost.';
  const fix = shell('psql "$STANDBY_URL" -c "ALTER SYSTEM SET hot_standby_feedback = on" -c "SELECT pg_reload_conf()"');
  return bad('warning', id, `"${name}" sends no hot_standby_feedback`, why, fix);
}
