import { createHash } from 'node:crypto';
import { OutboxError } from '../../../errors.ts';
import type { ClickHouseAccess } from '../../clickhouse/access.ts';
import { ClickHouse } from '../../clickhouse/client.ts';
import { bare } from '../../clickhouse/event-time.ts';
import { literal } from '../../clickhouse/literal.ts';
import { inspectTable, type ColumnRow } from '../../clickhouse/table.ts';
import { quoted } from '../doctor/subjects.ts';
import { tellOf, type ClickHouseTarget, type Report } from '../migrate-clickhouse.ts';
import { versionsOf, type CatalogType } from './catalog.ts';
import { commentOf, EVENT_COLUMNS, sentence } from './columns.ts';
import { expressionOf, type Storage } from './expression.ts';

const TIMEOUT_MS = 60_000;

/** Ends the comment of each view that is ours, with a digest of its statement. */
const MARK = /\[pg-outbox-clickhouse catalog (?<digest>[0-9a-f]{12})\]$/;

/** What stands under a name in the database of the views. */
interface Existing {
  readonly name: string;
  readonly engine: string;
  readonly comment: string;
}

/** The table that views read, and where they are. */
interface Place {
  readonly database: string;
  /** Database and name of the table, each quoted. */
  readonly source: string;
  readonly columns: readonly ColumnRow[];
  readonly storage: Storage;
  readonly cluster: string;
  /** The account under which a view reads the table, whoever reads the view. */
  readonly definer: string;
}

export interface ViewsTarget extends ClickHouseTarget {
  /** Where the views are made; empty for the table's own database. */
  readonly database: string;
}

/**
 * Makes a view for each type, or brings it up to date. Changes nothing where a name is taken by what is not ours. Views of types that are
 * not in the catalogue are told, and stay.
 *
 * @throws OutboxError OUTBOX_CATALOG_NAME_TAKEN with all names, what inspectTable throws, and OUTBOX_CH_*
 */
export async function makeViews(
  access: string | ClickHouseAccess,
  types: readonly CatalogType[],
  target: ViewsTarget,
  report: Report,
): Promise<void> {
  const clickhouse = new ClickHouse(access, TIMEOUT_MS);
  try {
    const place = await placeOf(clickhouse, target);
    const existing = await existingIn(clickhouse, place);
    refuseTaken(types, place, existing);
    const ours = new Map(existing.flatMap((one) => (isOurs(one) ? [[one.name, digestIn(one)] as const] : [])));
    for (const type of types) {
      const { view } = type;
      const before = ours.get(view);
      const { statement, digest } = statementOf(type, place);
      const became = before === undefined ? 'made' : before === digest ? 'unchanged' : 'updated';
      // a host that was added to a cluster has none
      if (became !== 'unchanged' || place.cluster !== '')
        await clickhouse.command(`${before === undefined ? 'CREATE' : 'CREATE OR REPLACE'} ${statement}`);
      report(tellOf('ClickHouse', became, `the view "${view}" of ${JSON.stringify(type.type)}, ${versionsOf(type)}`));
      for (const note of type.notes) report(`  ${note}`);
    }
    const names = new Set(types.map(({ view }) => view));
    for (const name of ours.keys())
      if (!names.has(name))
        report(
          `ClickHouse: the view "${name}" is of a type that is not defined here. If no other application defines it: DROP VIEW ${quoted(place.database)}.${quoted(name)}${onCluster(place)}`,
        );
  } finally {
    await clickhouse.close();
  }
}

async function placeOf(clickhouse: ClickHouse, { table: name, cluster = '', database }: ViewsTarget): Promise<Place> {
  const { table, columns } = await inspectTable(clickhouse, name);
  const exists = await clickhouse.select('SELECT 1 FROM system.databases WHERE name = {database:String}', {
    database: database || table.database,
  });
  if (exists.length === 0)
    throw new OutboxError('OUTBOX_CH_NOT_MIGRATED', {
      detail: `there is no database "${database}" in ClickHouse`,
      next: `Run CREATE DATABASE ${quoted(database)} in ClickHouse, or name another one by --database.`,
    });
  const [{ definer } = { definer: '' }] = await clickhouse.select<{ definer: string }>(
    'SELECT currentUser() AS definer',
  );
  return {
    database: database || table.database,
    source: `${quoted(table.database)}.${quoted(cluster === '' ? name : `${name}_all`)}`,
    columns,
    storage: storageOf(columns.find((column) => column.name === 'event_context')?.type),
    cluster,
    definer,
  };
}

function storageOf(context: string | undefined): Storage {
  if (context === undefined) return 'event_context_text';
  if (bare(context) !== 'String') return 'JSON';
  return context.includes('Nullable') ? "ifNull(event_context, '')" : 'event_context';
}

/** On a cluster, on all of its hosts. */
async function existingIn(clickhouse: ClickHouse, { database, cluster }: Place): Promise<Existing[]> {
  const tables = cluster === '' ? 'system.tables' : `clusterAllReplicas(${literal(cluster)}, system.tables)`;
  return clickhouse.select<Existing>(
    `SELECT name, engine, comment FROM ${tables} WHERE database = {database:String} ORDER BY name, comment`,
    { database },
  );
}

function refuseTaken(types: readonly CatalogType[], { database }: Place, existing: readonly Existing[]): void {
  const foreign = new Map(existing.flatMap((one) => (isOurs(one) ? [] : [[one.name, one.engine] as const])));
  const problems = types
    .filter(({ view }) => foreign.has(view))
    .map(
      ({ view, type }) =>
        `"${view}", for events of the type ${JSON.stringify(type)}, is a ${foreign.get(view)} of somebody else`,
    );
  if (problems.length > 0)
    throw new OutboxError('OUTBOX_CATALOG_NAME_TAKEN', {
      detail: `names of views are taken in the database "${database}"; nothing was changed`,
      problems,
    });
}

function isOurs({ engine, comment }: Existing): boolean {
  return engine === 'View' && MARK.test(comment);
}

function digestIn({ comment }: Existing): string | undefined {
  return MARK.exec(comment)?.groups?.['digest'];
}

function onCluster({ cluster }: Place): string {
  return cluster === '' ? '' : ` ON CLUSTER ${quoted(cluster)}`;
}

/** What stands behind CREATE, and a digest of it. */
function statementOf(type: CatalogType, place: Place): { readonly statement: string; readonly digest: string } {
  const own = Object.entries(EVENT_COLUMNS).flatMap(([name, comment]) => {
    const column = place.columns.find((one) => one.name === name);
    return column === undefined ? [] : [{ name, type: column.type, comment, expression: quoted(name) }];
  });
  const contexts = type.columns.map((column) => ({
    name: column.name,
    type: column.type,
    comment: commentOf(column),
    expression: expressionOf(column, place.storage),
  }));
  const columns = [...own, ...contexts];
  const list = columns.map(({ name, type: is, comment }) => `  ${quoted(name)} ${is} COMMENT ${literal(comment)}`);
  const values = columns.map(({ name, expression }) => `  ${expression} AS ${quoted(name)}`);
  const beginning = `VIEW ${quoted(place.database)}.${quoted(type.view)}${onCluster(place)}
(
${list.join(',\n')}
)
DEFINER = ${quoted(place.definer)} SQL SECURITY DEFINER
AS SELECT
${values.join(',\n')}
FROM ${place.source}
WHERE event_type = ${literal(type.type)}
COMMENT `;
  const told = [
    ...(type.description === undefined ? [] : [sentence(type.description)]),
    `Events of the type ${JSON.stringify(type.type)}, ${versionsOf(type)}.`,
  ].join(' ');
  const digest = createHash('sha256').update(beginning).update(told).digest('hex').slice(0, 12);
  return { statement: `${beginning}${literal(`${told} [pg-outbox-clickhouse catalog ${digest}]`)}`, digest };
}
