import { bad, ok, shell, type Finding } from './finding.ts';
import { setting } from './managed.ts';
import type { PostgresCheck, PostgresSubject } from './subjects.ts';

/** What a standby needs so that the outbox goes on after a failover to it. */
export const STANDBY_CHECKS: readonly PostgresCheck[] = [
  {
    id: 'standby.sync_slots',
    examine: async (postgres) => [isOn(postgres, 'standby.sync_slots', 'sync_replication_slots')],
  },
  { id: 'standby.feedback', examine: async (postgres) => [isOn(postgres, 'standby.feedback', 'hot_standby_feedback')] },
  { id: 'standby.slot', examine: copy },
];

function isOn(postgres: PostgresSubject, id: string, name: string): Finding {
  const value = postgres.settings.get(name);
  if (value === 'on') return ok(id, `${name} is on`);
  const why = 'Without it this server has no good copy of the slot, and a failover to it needs a repair.';
  return bad('warning', id, `${name} is ${value ?? 'unknown to this version'}`, why, ...setting(postgres, name, 'on'));
}

async function copy({ db, config, version }: PostgresSubject): Promise<Finding[]> {
  const id = 'standby.slot';
  if (version < 170_000) return [];
  const { rows } = await db.query<{ ready: boolean }>(
    `SELECT synced AND NOT temporary AND invalidation_reason IS NULL AS ready
       FROM pg_replication_slots WHERE slot_name = $1`,
    [config.slot],
  );
  if (rows[0]?.ready === true) return [ok(id, `the copy of "${config.slot}" is ready`)];
  const found = rows.length === 0 ? 'is not there' : 'is not ready';
  const why = 'A failover to this server would need a repair. It becomes ready when the primary’s slot moves.';
  return [
    bad(
      'warning',
      id,
      `the copy of "${config.slot}" ${found}`,
      why,
      shell(`psql "$PRIMARY_URL" -c 'SELECT pg_log_standby_snapshot()'`),
    ),
  ];
}
