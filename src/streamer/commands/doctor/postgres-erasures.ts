import { bad, ok, type Finding } from './finding.ts';
import type { PostgresCheck, PostgresSubject } from './subjects.ts';

export const ERASURE_CHECKS: readonly PostgresCheck[] = [{ id: 'postgres.erasures', examine: erasures }];

/** Which conditions it had is not kept: whoever began it must know them. */
async function erasures({ db }: PostgresSubject): Promise<Finding[]> {
  const id = 'postgres.erasures';
  const known = await db.query("SELECT WHERE to_regclass('outbox.erasure') IS NOT NULL");
  if (known.count === 0) return [];
  const { rows } = await db.query<{ id: string; who: string; at: string }>(
    `SELECT id::text AS id, quote_ident(begun_by) AS who, to_char(begun_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') || ' UTC' AS at
       FROM outbox.erasure WHERE ended_at IS NULL ORDER BY begun_at`,
  );
  if (rows.length === 0) return [ok(id, 'every erasure has ended')];
  const found = rows
    .map((row) => `the erasure ${row.id}, which ${row.who} began at ${row.at}, has not ended`)
    .join('; ');
  const why =
    'Some of its events may still be in ClickHouse, where `verify` calls them extra. Run the same `erase`, with the same conditions, again: it goes on.';
  return [bad('warning', id, found, why)];
}
