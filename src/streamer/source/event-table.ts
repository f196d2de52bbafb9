import { readFile } from 'node:fs/promises';
import { OutboxError } from '../../errors.ts';
import type { Database } from './database.ts';
import { EVENT_COLUMNS } from './event-columns.ts';

/** The SQL files that `migrate` applies. */
export const MIGRATIONS = new URL('../../../migrations/', import.meta.url);

/**
 * Whether a row was put into the outbox at its recorded_at, as far as its bucket can tell, which a default gives it. The time of a row
 * that somebody has filled in is any time.
 */
export const IS_OF_ITS_DAY =
  'CASE WHEN isfinite(recorded_at) THEN (extract(epoch FROM recorded_at)::bigint / 86400) % 32 = bucket END';

/**
 * The OIDs of outbox.event and of all partitions below it, from the catalog alone. pg_partition_tree waits for a lock on each of them:
 * a VACUUM FULL of one old partition would hold up delivery.
 */
export const EVENT_TABLES = `(WITH RECURSIVE tree AS (
    SELECT to_regclass('outbox.event')::oid AS oid
     UNION
    SELECT inhrelid FROM tree JOIN pg_inherits ON inhparent = tree.oid JOIN pg_class c ON c.oid = inhrelid AND c.relispartition)
  SELECT oid FROM tree)`;

/** What a row gets that has no value of its own, where the column's default would say something untrue or there is none. */
const FOR_ROWS: Readonly<Record<string, string>> = {
  event_type: "'unknown'",
  event_context: "'{}'",
  recorded_by: "'unknown'",
};

export interface TableProblem {
  readonly what: string;
  /** Statements, in this order. */
  readonly fix: readonly string[];
}

interface Column {
  name: string;
  oid: number;
  type: string;
  /** No row can hold NULL in it. */
  filled: boolean;
}

/** What of the published columns of outbox.event is not as the migration makes it. A missing table is not told here. */
export async function eventTableProblems(db: Database): Promise<TableProblem[]> {
  const { rows } = await db.query<Column>(
    // a constraint that is not validated (Postgres 18) says nothing of the rows that are there
    `SELECT attname AS name, atttypid::int8::float8 AS oid, format_type(atttypid, atttypmod) AS type,
            attnotnull AND NOT EXISTS (SELECT FROM pg_constraint
              WHERE conrelid = attrelid AND contype = 'n' AND attnum = ANY (conkey) AND NOT convalidated) AS filled
       FROM pg_attribute WHERE attrelid = to_regclass('outbox.event') AND attnum > 0 AND NOT attisdropped`,
  );
  if (rows.length === 0) return [];
  const problems = await unloggedTables(db);
  for (const { name, type, oid } of EVENT_COLUMNS) {
    const column = rows.find((row) => row.name === name);
    if (column === undefined) problems.push(await missing(db, name));
    else if (column.oid !== oid) problems.push(await retyped(db, column, type));
    else if (!column.filled && name !== 'traceparent') problems.push(await nullable(db, name));
  }
  return problems;
}

/** A crash empties an unlogged table: the ledger would be gone, or events that are in quarantine alone. */
async function unloggedTables(db: Database): Promise<TableProblem[]> {
  const { rows } = await db.query<{ name: string }>(
    `SELECT oid::regclass::text AS name FROM pg_class
      WHERE oid IN (to_regclass('outbox.stream'), to_regclass('outbox.quarantine')) AND relpersistence <> 'p' ORDER BY name`,
  );
  return rows.map(({ name }) => ({ what: `${name} is not logged`, fix: [`ALTER TABLE ${name} SET LOGGED`] }));
}

/** Throws OUTBOX_PG_TABLE_UNSUITABLE with every problem and its fix. */
export async function checkEventTable(db: Database): Promise<void> {
  const problems = await eventTableProblems(db);
  if (problems.length > 0)
    throw new OutboxError('OUTBOX_PG_TABLE_UNSUITABLE', {
      detail: `${db.schema}.event is not as the migration makes it`,
      problems: problems.map(({ what, fix }) => `${what}: ${fix.join('; ')}`),
    });
}

/** The role of applications, as roles.sql makes it. */
export const producerOf = (schema: string): string => `${schema}_producer`;

/** What roles.sql lets a streamer log in as. */
export const streamerOf = (schema: string): string => `${schema}_streamer`;

/** The role of a console that only reads. */
export const consoleOf = (schema: string): string => `${schema}_console`;

/** What `erase` logs in as. */
export const eraserOf = (schema: string): string => `${schema}_eraser`;

/** Constraints and grants go with a column. */
async function missing(db: Database, name: string): Promise<TableProblem> {
  const { definition, base, value, isRequired, constraints } = await migrated(name);
  const { rows } = await db.query<{ constraints: string[]; producer: boolean }>(
    `SELECT ARRAY(SELECT conname::text FROM pg_constraint WHERE conrelid = to_regclass('outbox.event')) AS constraints,
            EXISTS (SELECT FROM pg_roles WHERE rolname = $1) AS producer`,
    [producerOf(db.schema)],
  );
  const found = rows[0]!;
  const isGranted = found.producer && !name.startsWith('recorded_');
  return {
    what: `the column ${name} is missing`,
    fix: [
      `ALTER TABLE ${db.schema}.event ADD COLUMN ${isRequired ? `${name} ${base} DEFAULT ${value} NOT NULL` : definition}`,
      ...(isRequired ? [defaultOf(db, name, definition)] : []),
      ...constraints
        .filter((constraint) => !found.constraints.includes(constraint.split(' ')[1]!))
        .map((constraint) => `ALTER TABLE ${db.schema}.event ADD ${constraint}`),
      ...(isGranted ? [`GRANT INSERT (${name}) ON ${db.schema}.event TO ${producerOf(db.schema)}`] : []),
    ],
  };
}

async function retyped(db: Database, { name, type }: Column, wanted: string): Promise<TableProblem> {
  const { rows } = await db.query<{ name: string }>(
    "SELECT pubname AS name FROM pg_publication WHERE pubname ~ ('^' || $1 || '_[0-9]+_of_[0-9]+$') ORDER BY 1",
    [db.schema],
  );
  const publications = [db.schema, ...rows.map((row) => row.name)].join(', ');
  return {
    what: `the column ${name} is of type ${type}, and not ${wanted}`,
    fix: [
      // Postgres alters the type of no column that is published; `migrate` makes the publication again
      `DROP PUBLICATION IF EXISTS ${publications}`,
      `ALTER TABLE ${db.schema}.event ALTER COLUMN ${name} TYPE ${wanted} USING ${name}::${wanted}`,
    ],
  };
}

async function nullable({ schema }: Database, name: string): Promise<TableProblem> {
  const { value } = await migrated(name);
  return {
    what: `the column ${name} may be NULL`,
    fix: [
      `UPDATE ${schema}.event SET ${name} = ${value} WHERE ${name} IS NULL`,
      `ALTER TABLE ${schema}.event ALTER COLUMN ${name} SET NOT NULL`,
    ],
  };
}

interface Migrated {
  /** As CREATE TABLE has it. */
  readonly definition: string;
  /** The type alone. */
  readonly base: string;
  /** What rows get that have none. */
  readonly value: string;
  readonly isRequired: boolean;
  /** Those that name the column, each as `CONSTRAINT name CHECK (…)`. */
  readonly constraints: readonly string[];
}

/** A column as the migration makes it. */
async function migrated(name: string): Promise<Migrated> {
  const text = await readFile(new URL('postgres/0000_outbox.sql', MIGRATIONS), 'utf8');
  const [table = ''] = /CREATE TABLE "outbox"\."event" \([^]*?\n\)/.exec(text) ?? [];
  const lines = [...table.matchAll(/^\t(.*?),?$/gm)].map(([, line]) => line!.replaceAll('"', ''));
  const definition = lines.find((line) => line.startsWith(`${name} `)) ?? name;
  const base = definition.slice(name.length + 1).replace(/ (DEFAULT|NOT NULL)\b.*$/, '');
  return {
    definition,
    base,
    value: FOR_ROWS[name] ?? defaultIn(definition) ?? 'NULL',
    isRequired: definition.endsWith('NOT NULL'),
    constraints: lines.filter(
      (line) => line.startsWith('CONSTRAINT ') && new RegExp(`\\b${name}\\b`).test(line.slice(line.indexOf('CHECK'))),
    ),
  };
}

function defaultIn(definition: string): string | undefined {
  return / DEFAULT (.*?)(?: NOT NULL)?$/.exec(definition)?.[1];
}

function defaultOf({ schema }: Database, name: string, definition: string): string {
  const value = defaultIn(definition);
  return `ALTER TABLE ${schema}.event ALTER COLUMN ${name} ${value === undefined ? 'DROP DEFAULT' : `SET DEFAULT ${value}`}`;
}

/** A foreign key of another table on one of outbox.event, which TRUNCATE then refuses to empty: names in SQL. */
export interface Reference {
  readonly name: string;
  readonly of: string;
  readonly to: string;
}

/** Foreign keys on outbox.event and its partitions. */
export async function referencesToEvents(db: Database): Promise<Reference[]> {
  const { rows } = await db.query<Reference>(
    `SELECT quote_ident(conname) AS name, conrelid::regclass::text AS of, confrelid::regclass::text AS to FROM pg_constraint
      WHERE contype = 'f' AND conparentid = 0
        AND (confrelid = to_regclass('outbox.event') OR confrelid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = to_regclass('outbox.event')))
      ORDER BY 2, 1`,
  );
  return rows;
}
