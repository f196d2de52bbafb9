import { canDecode, unsafeSettings } from '../../source/server.ts';
import { HARMLESS } from '../../source/service.ts';
import { bad, ok, shell, type Finding } from './finding.ts';
import { isLocal } from '../../source/database.ts';
import { databaseUrlOf } from '../../source/hosts.ts';
import { clockFinding } from './host.ts';
import { setting, startSetting } from './managed.ts';
import type { PostgresCheck, PostgresSubject } from './subjects.ts';

/** What the server as a whole must be like. */
export const SERVER_CHECKS: readonly PostgresCheck[] = [
  { id: 'postgres.version', examine: async (postgres) => [version(postgres)] },
  { id: 'postgres.service', examine: async ({ service }) => [ok('postgres.service', service ?? 'none that is known')] },
  { id: 'postgres.role', examine: async (postgres) => [standby(postgres)] },
  { id: 'postgres.wal_level', examine: async (postgres) => [walLevel(postgres)] },
  { id: 'postgres.slots', examine: slots },
  { id: 'postgres.senders', examine: senders },
  { id: 'postgres.slot_wal_limit', examine: async (postgres) => [slotWalLimit(postgres)] },
  { id: 'postgres.idle_slot_timeout', examine: async (postgres) => [idleSlotTimeout(postgres)] },
  { id: 'postgres.wal_sender_timeout', examine: async (postgres) => [walSenderTimeout(postgres)] },
  { id: 'postgres.durability', examine: durability },
  { id: 'postgres.synchronous_standbys', examine: async (postgres) => [synchronousStandbys(postgres)] },
  { id: 'postgres.tls', examine: tls },
  { id: 'postgres.clock', examine: clock },
];

function version({ settings, version: number }: PostgresSubject): Finding {
  const text = settings.get('server_version') ?? String(number);
  if (number >= 150_000) return ok('postgres.version', text);
  return bad('error', 'postgres.version', text, 'Publications with column lists came with 15: upgrade Postgres.');
}

function standby({ isStandby }: PostgresSubject): Finding {
  if (!isStandby) return ok('postgres.role', 'a primary');
  const why = 'A standby can keep no ledger: DATABASE_URL of a streamer must lead to the primary.';
  return bad('error', 'postgres.role', 'a standby', why, shell(`psql "$DATABASE_URL" -c 'SHOW primary_conninfo'`));
}

function walLevel(postgres: PostgresSubject): Finding {
  const level = postgres.settings.get('wal_level') ?? '';
  if (canDecode(level, postgres.settings.get('effective_wal_level'))) return ok('postgres.wal_level', level);
  const why = 'Only logical decoding tells what was committed.';
  return bad('error', 'postgres.wal_level', level, why, ...startSetting(postgres, 'wal_level', 'logical'));
}

async function slots(postgres: PostgresSubject): Promise<Finding[]> {
  const { db, config } = postgres;
  const { rows } = await db.query<{ used: number; ours: boolean }>(
    'SELECT count(*)::int AS used, coalesce(bool_or(slot_name = $1), false) AS ours FROM pg_replication_slots',
    [config.slot],
  );
  const { used, ours } = rows[0]!;
  return [room(postgres, 'postgres.slots', used, 'max_replication_slots', ours)];
}

async function senders(postgres: PostgresSubject): Promise<Finding[]> {
  const { db, config } = postgres;
  const { rows } = await db.query<{ used: number; ours: boolean }>(
    `SELECT (SELECT count(*)::int FROM pg_stat_replication) AS used,
            EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = $1 AND active) AS ours`,
    [config.slot],
  );
  const { used, ours } = rows[0]!;
  return [room(postgres, 'postgres.senders', used, 'max_wal_senders', ours)];
}

/** @param isOurs the outbox has its own already */
function room(postgres: PostgresSubject, id: string, used: number, name: string, isOurs: boolean): Finding {
  const max = Number(postgres.settings.get(name));
  const found = `${used} of ${max} in use (${name})`;
  if (used < max) return ok(id, found);
  const why = isOurs ? 'None is left: a repair, or another standby, may want one.' : 'None is left for the outbox.';
  return bad(isOurs ? 'warning' : 'error', id, found, why, ...startSetting(postgres, name, String(max + 5)));
}

function slotWalLimit(postgres: PostgresSubject): Finding {
  const id = 'postgres.slot_wal_limit';
  const megabytes = Number(postgres.settings.get('max_slot_wal_keep_size'));
  if (megabytes >= 0) return ok(id, `max_slot_wal_keep_size is ${megabytes} MB`);
  const why = 'A streamer that is gone would keep WAL until the disk is full, and all transactions fail.';
  const fix = setting(postgres, 'max_slot_wal_keep_size', '10GB');
  return bad('warning', id, 'max_slot_wal_keep_size is unlimited', why, ...fix);
}

function idleSlotTimeout(postgres: PostgresSubject): Finding {
  const id = 'postgres.idle_slot_timeout';
  const timeout = Number(postgres.settings.get('idle_replication_slot_timeout') ?? 0);
  if (timeout === 0) return ok(id, 'slots do not expire');
  const why = 'An outage of the streamer that lasts longer invalidates the slot, and needs a repair.';
  const found = `slots that nobody holds expire after ${timeout} s`;
  return bad('warning', id, found, why, ...setting(postgres, 'idle_replication_slot_timeout', '0'));
}

function walSenderTimeout({ settings }: PostgresSubject): Finding {
  const found = `the server’s is ${Number(settings.get('wal_sender_timeout')) / 1000} s; the streamer sets 30 s for itself`;
  return ok('postgres.wal_sender_timeout', found);
}

async function durability(postgres: PostgresSubject): Promise<Finding[]> {
  const id = 'postgres.durability';
  const { db, service } = postgres;
  const unsafe = await unsafeSettings(db);
  const isElsewhere = service !== undefined && HARMLESS[service] !== undefined;
  if (unsafe.length === 0)
    return [ok(id, isElsewhere ? `${service} keeps WAL elsewhere` : 'fsync and full_page_writes are on')];
  const why = 'A crash of the host may lose what was confirmed: events may be lost or doubled.';
  return unsafe.map((problem) => {
    const [name = ''] = problem.split(' ');
    return bad('error', id, `${name} is off`, why, ...setting(postgres, name, 'on'));
  });
}

function synchronousStandbys(postgres: PostgresSubject): Finding {
  const id = 'postgres.synchronous_standbys';
  const names = postgres.settings.get('synchronous_standby_names') ?? '';
  if (!names.includes('*')) return ok(id, names === '' ? 'none' : names);
  const why = 'The streamer counts as a standby: commits wait for ClickHouse. Name the standbys that you mean.';
  const fix = setting(postgres, 'synchronous_standby_names', '');
  return bad('error', id, `synchronous_standby_names is "${names}"`, why, ...fix);
}

async function tls({ db, config }: PostgresSubject): Promise<Finding[]> {
  const id = 'postgres.tls';
  const { rows } = await db.query<{ ssl: boolean }>('SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()');
  if (rows[0]?.ssl === true) return [ok(id, 'in use')];
  const { hosts, url } = databaseUrlOf(config.databaseUrl);
  if (hosts.every(({ name }) => isLocal(name))) return [ok(id, 'not in use, on this host')];
  const why = 'Events and the password’s proof cross the network in plain text.';
  const next = `export DATABASE_URL="$DATABASE_URL${url.search === '' ? '?' : '&'}sslmode=verify-full"`;
  return [bad('warning', id, 'not in use, to another host', why, shell(next))];
}

async function clock({ db }: PostgresSubject): Promise<Finding[]> {
  const began = Date.now();
  const { rows } = await db.query<{ ms: number }>(
    'SELECT (extract(epoch FROM clock_timestamp()) * 1000)::float8 AS ms',
  );
  return [clockFinding('postgres.clock', 'Postgres', { began, ended: Date.now(), theirs: rows[0]!.ms })];
}
