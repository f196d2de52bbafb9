import { detachedIn } from '../../clickhouse/absence.ts';
import { hangingOn } from '../../clickhouse/left-views.ts';
import { describeDetached, detachedParts } from '../../clickhouse/detached-parts.ts';
import { literal } from '../../clickhouse/literal.ts';
import { inspectTarget } from '../../clickhouse/target.ts';
import { bad, ok, query, type Finding } from './finding.ts';
import { quoted, type ClickHouseCheck, type ClickHouseSubject } from './subjects.ts';

/** What somebody has taken away for a while: nobody else tells of it. */
export const DETACHED_CHECKS: readonly ClickHouseCheck[] = [
  { id: 'clickhouse.detached_tables', examine: tables },
  { id: 'clickhouse.detached_parts', examine: parts },
];

const DAY_MS = 86_400_000;

async function tables({ clickhouse, config }: ClickHouseSubject): Promise<Finding[]> {
  const id = 'clickhouse.detached_tables';
  const hanging = await hangingOn(clickhouse, config.clickhouseTable);
  const detached = [];
  for (const database of new Set(hanging.map((table) => table.database)))
    detached.push(...(await detachedIn(clickhouse, database)));
  if (detached.length === 0) return [ok(id, 'no view is detached beside the table')];
  // what a view fills has a finding of its own
  const { broken } = await inspectTarget(clickhouse, config.clickhouseTable);
  const why =
    'If it is a materialized view on the table, it gets no events meanwhile, and nothing says so: attach it, and fill in by hand what it has missed.';
  return detached
    .filter(({ database, name }) => !broken.some(({ target }) => target.database === database && target.name === name))
    .map(({ database, name }) => {
      const fix = query(`ATTACH TABLE ${quoted(database)}.${quoted(name)}`);
      return bad('warning', id, `${database}.${name} is detached`, why, fix);
    });
}

/** What was detached before Postgres' oldest event was recorded is nobody's matter here. */
async function parts({ clickhouse, config, altered }: ClickHouseSubject): Promise<Finding[]> {
  const id = 'clickhouse.detached_parts';
  const { retentionDays: days, clickhouseTable } = config;
  const found = await detachedParts(clickhouse, clickhouseTable, days === 0 ? 0 : Date.now() - (days + 1) * DAY_MS);
  if (found.length === 0) return [ok(id, 'no part of the table is detached')];
  return found.map((some) => {
    const isGood = some.reason === '';
    const what = isGood ? 'Attach them, or drop them' : 'If they cannot be saved, drop them';
    const why = `Their events are not in the table, and \`repair\` sends nothing that is missing while they could come back. ${what} (DROP DETACHED PART), then run \`verify\`.`;
    const fixes = isGood ? [query(`ALTER TABLE ${altered} ATTACH PARTITION ID ${literal(some.partition)}`)] : [];
    return bad('warning', id, describeDetached(some), why, ...fixes);
  });
}
