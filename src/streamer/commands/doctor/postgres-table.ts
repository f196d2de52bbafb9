import { OutboxError } from '../../../errors.ts';
import { eventTableProblems } from '../../source/event-table.ts';
import { checkPublication } from '../../source/publication.ts';
import { bad, command, findingOf, ok, sql, type Finding } from './finding.ts';
import type { PostgresCheck, PostgresSubject } from './subjects.ts';

/** What outbox.event must be like for all that is put into it to reach the stream. */
export const TABLE_CHECKS: readonly PostgresCheck[] = [
  { id: 'postgres.row_security', examine: rowSecurity },
  { id: 'postgres.triggers', examine: triggers },
  { id: 'postgres.table', examine: columns },
  { id: 'postgres.publication', examine: publication },
];

/** Its policies hide rows from whoever compares, repairs or removes, and refuse events of applications. */
async function rowSecurity({ db }: PostgresSubject): Promise<Finding[]> {
  const id = 'postgres.row_security';
  const { rows } = await db.query<{ table: string }>(
    `SELECT oid::regclass::text AS table FROM pg_class WHERE relnamespace = to_regnamespace('outbox') AND relrowsecurity ORDER BY 1`,
  );
  if (rows.length === 0) return [ok(id, 'off')];
  const why = '`verify`, `repair` and retention refuse to work where rows may be hidden from them.';
  return rows.map(({ table }) =>
    bad('error', id, `on for ${table}`, why, sql(`ALTER TABLE ${table} DISABLE ROW LEVEL SECURITY`)),
  );
}

/** What a trigger returns is put in instead of the event: another row, or none, although the INSERT succeeds. So does a rule. */
async function triggers({ db }: PostgresSubject): Promise<Finding[]> {
  const id = 'postgres.triggers';
  const { rows } = await db.query<{ kind: string; name: string; on: string }>(
    // 1: FOR EACH ROW, 2: BEFORE, 4: INSERT, 8: DELETE, 16: UPDATE. What a partitioned table has, its partitions have a copy of, which goes with it
    `WITH tables AS (SELECT to_regclass('outbox.event')::oid AS oid UNION SELECT relid FROM pg_partition_tree(to_regclass('outbox.event'))
                     UNION SELECT to_regclass('outbox.quarantine') UNION SELECT to_regclass('outbox.stream'))
     SELECT 'TRIGGER' AS kind, quote_ident(tgname) AS name, tgrelid::regclass::text AS on FROM pg_trigger JOIN tables ON tables.oid = tgrelid
      WHERE NOT tgisinternal AND tgparentid = 0 AND tgenabled <> 'D' AND tgtype & 3 = 3
        AND (tgtype & 4 = 4 OR (tgtype & 24 <> 0 AND tgrelid IN (to_regclass('outbox.stream'), to_regclass('outbox.quarantine'))))
      UNION ALL
     SELECT 'RULE', quote_ident(rulename), ev_class::regclass::text FROM pg_rewrite r JOIN tables ON tables.oid = ev_class
      WHERE (ev_type IN ('2', '3') OR (ev_type = '4' AND ev_class = to_regclass('outbox.quarantine'))) AND is_instead AND ev_enabled <> 'D'
      ORDER BY 3, 2`,
  );
  if (rows.length === 0) return [ok(id, 'none that could drop or change an event')];
  const why =
    'A write would succeed although it drops the row or changes it: an event, or what the streamer records. Check what it does; if it is not meant, drop it.';
  return rows.map(({ kind, name, on }) =>
    bad(
      'warning',
      id,
      `${kind} ${name} on ${on} runs before or instead of each write`,
      why,
      sql(`DROP ${kind} ${name} ON ${on}`),
    ),
  );
}

async function columns({ db, missing }: PostgresSubject): Promise<Finding[]> {
  const id = 'postgres.table';
  if (missing.includes('event')) return [];
  const problems = await eventTableProblems(db);
  if (problems.length === 0) return [ok(id, `${db.schema}.event has the columns of the migration`)];
  const why = 'The streamer stops with OUTBOX_PG_TABLE_UNSUITABLE. A column that is altered may leave the publication.';
  return problems.map(({ what, fix }) =>
    bad('error', id, `${db.schema}.event: ${what}`, why, ...fix.map(sql), command('migrate'), command('repair')),
  );
}

async function publication({ db, config, missing }: PostgresSubject): Promise<Finding[]> {
  const id = 'postgres.publication';
  // columns that are not right have a finding of their own
  if (missing.includes('event') || (await eventTableProblems(db)).length > 0) return [];
  try {
    await checkPublication(db, config.slot);
    return [ok(id, `inserts of ${db.schema}.event, through the root`)];
  } catch (error) {
    if (!(error instanceof OutboxError)) throw error;
    if (error.code === 'OUTBOX_PG_TABLE_UNSUITABLE') return [findingOf(id, error, command('repair'))];
    if (error.code !== 'OUTBOX_PUBLICATION_MISSING') throw error;
    return [findingOf(id, error, command('migrate'), command('repair'))];
  }
}
