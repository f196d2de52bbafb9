import { bad, command, ok, type Finding } from './finding.ts';
import type { PostgresCheck, PostgresSubject } from './subjects.ts';

/** A manifest comes some minutes after its hour, and later behind a long transaction. */
const LATE = "interval '25 hours'";

export const MANIFEST_CHECK: PostgresCheck = { id: 'postgres.manifests', examine: manifests };

/** With OUTBOX_MANIFESTS=on: for which hour retention may wait. */
async function manifests({ db, config, missing }: PostgresSubject): Promise<Finding[]> {
  const id = 'postgres.manifests';
  if (config.manifests === 'off' || missing.includes('event') || missing.includes('stream')) return [];
  const { rows: tables } = await db.query<{ there: boolean }>(
    "SELECT to_regclass('outbox.manifest') IS NOT NULL AS there",
  );
  const why = 'Retention keeps events whose hour has none, and nobody can check what ClickHouse has of it.';
  if (!tables[0]!.there) return [bad('error', id, `${db.schema}.manifest does not exist`, why, command('migrate'))];
  const { rows } = await db.query<{ n: number; last: string | null; late: boolean }>(
    `WITH made AS (SELECT count(*)::int AS n, max(hour) AS last FROM outbox.manifest
                    WHERE source = (SELECT source FROM outbox.stream WHERE slot_name = $1))
     SELECT n, to_char(last AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI"Z"') AS last,
            CASE WHEN coalesce(last, '-infinity') < now() - ${LATE}
                 THEN EXISTS (SELECT FROM outbox.event
                               WHERE recorded_at >= coalesce(last + interval '1 hour', '-infinity') AND recorded_at < now() - ${LATE})
                 ELSE false END AS late
       FROM made`,
    [config.slot],
  );
  const { n, last, late } = rows[0]!;
  const found = last === null ? 'no hour has a manifest yet' : `${n} manifests, the last of the hour ${last}`;
  if (!late) return [ok(id, found)];
  const fix = [command('verify')];
  return [bad('warning', id, `${found}, and events since that are older than a day`, why, ...fix)];
}
