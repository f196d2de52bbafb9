import { OutboxError } from '../../errors.ts';
import type { Database } from '../source/database.ts';
import { heldInOutbox, inOutbox, type Filter } from './filter.ts';
import type { Condition } from '../clickhouse/retention-policy.ts';

/** Events of Postgres' tables, by their names. */
export interface InPostgres {
  readonly outbox: number;
  readonly quarantine: number;
}

/** How many events a filter fits. */
export async function countIn(db: Database, filter: Filter): Promise<InPostgres> {
  const { sql, values } = inOutbox(filter);
  const { rows } = await db.query<InPostgres>(
    `SELECT (SELECT count(*) FROM outbox.event WHERE ${sql})::int8::float8 AS "outbox",
            (SELECT count(*) FROM outbox.quarantine WHERE ${sql})::int8::float8 AS quarantine`,
    values,
  );
  return rows[0]!;
}

/** How many of them a rule holds. */
export async function countHeld(
  db: Database,
  filter: Filter,
  holds: readonly (readonly Condition[])[],
): Promise<number> {
  const { sql, values } = inOutbox(filter);
  const held = heldInOutbox(holds, values.length + 1);
  const { rows } = await db.query<{ n: number }>(
    `SELECT (SELECT count(*) FROM outbox.event WHERE ${sql} AND ${held.sql})::int8::float8
          + (SELECT count(*) FROM outbox.quarantine WHERE ${sql} AND ${held.sql})::int8::float8 AS n`,
    [...values, ...held.values],
  );
  return rows[0]!.n;
}

/** Removes from outbox.event what is committed by now; of the ring, a partition at a time. Producers go on meanwhile. */
export async function removeEvents(db: Database, filter: Filter, onRemoved: (rows: number) => void): Promise<void> {
  const { sql, values } = inOutbox(filter);
  const ring = await db.query<{ bucket: number }>(
    `SELECT substring(pg_get_partition_constraintdef(inhrelid) FROM 'bucket = ''?([0-9]+)')::int AS bucket
       FROM pg_inherits WHERE inhparent = 'outbox.event'::regclass ORDER BY 1`,
  );
  const isRing = ring.count > 0 && ring.rows.every(({ bucket }) => bucket !== null);
  for (const condition of isRing ? ring.rows.map(({ bucket }) => `bucket = ${bucket} AND ${sql}`) : [sql]) {
    const { count } = await db.query(`DELETE FROM outbox.event WHERE ${condition}`, values);
    onRemoved(count);
  }
}

/**
 * Removes from quarantine what outbox.event no longer has, and returns how many, and whether somebody has tried one again, ever. One that
 * is tried again at this moment is waited for.
 */
export async function removeQuarantined(db: Database, filter: Filter): Promise<{ rows: number; wasRetried: boolean }> {
  const { sql, values } = inOutbox(filter);
  const { rows } = await db.query<{ retried: boolean }>(
    `DELETE FROM outbox.quarantine WHERE ${sql}
        AND event_id NOT IN (SELECT event_id FROM outbox.event WHERE ${sql}) RETURNING retried_at IS NOT NULL AS retried`,
    values,
  );
  return { rows: rows.length, wasRetried: rows.some(({ retried }) => retried) };
}

/** Which of these events outbox.event has: emitted since. What it has stays in ClickHouse, or `repair` would send it again. */
export async function keptOf(db: Database, filter: Filter, ids: readonly string[]): Promise<ReadonlySet<string>> {
  const { sql, values } = inOutbox(filter);
  const { rows } = await db.query<{ id: string }>(
    `SELECT event_id::text AS id FROM outbox.event WHERE ${sql} AND event_id = ANY ($${values.length + 1}::uuid[])`,
    [...values, ids],
  );
  return new Set(rows.map(({ id }) => id));
}

/** Makes sure that this role may erase, before anything is counted or asked. Throws OUTBOX_PG_PRIVILEGE with what to grant. */
export async function checkPrivileges(db: Database): Promise<void> {
  const wanted = {
    event: ['SELECT', 'DELETE'],
    quarantine: ['SELECT', 'DELETE'],
    erasure: ['SELECT', 'INSERT', 'UPDATE'],
  };
  const { rows } = await db.query<{ name: string; privilege: string; role: string }>(
    `SELECT name, privilege, quote_ident(current_user) AS role FROM jsonb_each($1::jsonb) AS tables (name, list), jsonb_array_elements_text(list) AS privilege
      WHERE NOT has_table_privilege(format('outbox.%I', name)::regclass, privilege)`,
    [JSON.stringify(wanted)],
  );
  if (rows.length > 0)
    throw new OutboxError('OUTBOX_PG_PRIVILEGE', {
      detail: 'the role may not erase events',
      problems: rows.map(({ name, privilege, role }) => `GRANT ${privilege} ON ${db.schema}.${name} TO ${role}`),
    });
}
