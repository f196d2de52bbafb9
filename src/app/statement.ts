import { DEFAULT_SCHEMA, inSchema } from '../schema-name.ts';
import type { EventRow } from './event-row.ts';
import { Hidden } from './hidden.ts';
import type { TraceContext } from './trace.ts';

/** A parameter of a statement: a text, null, or a text that only the driver can read. */
export type Parameter = string | null | Hidden;

/** One INSERT. Its texts are constants, so that a server, a proxy or a statistics view sees one statement. */
export interface Statement {
  /**
   * The server takes every parameter as a text and casts it. Without the casts some clients would ask for the type of a
   * parameter and serialise it accordingly: postgres.js makes a JSON string of a parameter for a json column.
   */
  readonly text: string;
  /** For clients that send every parameter as text and leave its type to the server: less work for the server. */
  readonly untyped: string;
  readonly values: readonly Parameter[];
}

const COLUMNS =
  'event_id, event_type, event_date_time, environment, event_context, metadata_version, subject, traceparent, tracestate';

const INSERT_ONE =
  `INSERT INTO outbox.event (${COLUMNS}) ` +
  'VALUES ($1::pg_catalog.text::pg_catalog.uuid, $2::pg_catalog.text, $3::pg_catalog.text::pg_catalog.timestamptz, $4::pg_catalog.text, $5::pg_catalog.text::pg_catalog.json, $6::pg_catalog.text::bigint, $7::pg_catalog.text, $8::pg_catalog.text, $9::pg_catalog.text)';

const UNTYPED_ONE = `INSERT INTO outbox.event (${COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`;

/**
 * The columns are arrays, joined by position. The contexts are lines of one text: JSON text holds no line feed, so nothing
 * has to be escaped. In an array literal, escaping them would be most of the work for client and server. If the columns ever
 * differed in length, ROWS FROM would fill up with NULL, and the INSERT would fail rather than store less. Functions and types are those of
 * pg_catalog, whatever the session's search_path: one of the same name in another schema would run as the application.
 */
const INSERT_MANY =
  `INSERT INTO outbox.event (${COLUMNS}) ` +
  'SELECT e.id, e.type, e.time, e.environment, e.context::pg_catalog.json, e.version, e.subject, $8::pg_catalog.text, $9::pg_catalog.text ' +
  'FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.text::pg_catalog.uuid[]), pg_catalog.unnest($2::pg_catalog.text::pg_catalog.text[]), ' +
  'pg_catalog.unnest($3::pg_catalog.text::pg_catalog.timestamptz[]), pg_catalog.unnest($4::pg_catalog.text::pg_catalog.text[]), ' +
  "pg_catalog.string_to_table($5::pg_catalog.text, E'\\n'), pg_catalog.unnest($6::pg_catalog.text::bigint[]), " +
  'pg_catalog.unnest($7::pg_catalog.text::pg_catalog.text[])) ' +
  'WITH ORDINALITY AS e (id, type, time, environment, context, version, subject, n) ORDER BY e.n';

/** The most that one INSERT carries. Postgres rejects a message of 1 GiB, and client and server hold several copies of it. */
const INSERT_BYTES = 64 * 1024 * 1024;

/** The bytes that an event may need besides its context, type, environment and subject. */
const ROW_BYTES = 128;

interface Texts {
  readonly one: string;
  readonly untypedOne: string;
  readonly many: string;
}

const textsBySchema = new Map<string, Texts>();

/** The same texts for every event of an outbox. */
function textsOf(schema: string): Texts {
  let texts = textsBySchema.get(schema);
  if (texts === undefined) {
    const [one, untypedOne, many] = [INSERT_ONE, UNTYPED_ONE, INSERT_MANY].map((text) => inSchema(schema, text));
    texts = { one: one!, untypedOne: untypedOne!, many: many! };
    textsBySchema.set(schema, texts);
  }
  return texts;
}

/** The INSERT of one event. */
export function insertOne(row: EventRow, trace: TraceContext, schema = DEFAULT_SCHEMA): Statement {
  const { one, untypedOne } = textsOf(schema);
  return {
    text: one,
    untyped: untypedOne,
    values: [
      row.id,
      row.type,
      row.time,
      row.environment,
      new Hidden(row.context, 'event context'),
      String(row.metadataVersion),
      new Hidden(row.subject, 'event subject'),
      trace.traceparent,
      trace.tracestate,
    ],
  };
}

/** Whether one INSERT can take all rows. It can always take one row, because an event has a limit of its own. */
export function fitOneInsert(rows: readonly EventRow[]): boolean {
  let bytes = 0;
  for (const row of rows)
    bytes += row.bytes + (row.type.length + row.environment.length + row.subject.length) * 3 + ROW_BYTES;
  return rows.length <= 1 || bytes <= INSERT_BYTES;
}

/** The INSERT of many events, in their order. */
export function insertMany(rows: readonly EventRow[], trace: TraceContext, schema = DEFAULT_SCHEMA): Statement {
  const [only] = rows;
  if (rows.length === 1 && only !== undefined) return insertOne(only, trace, schema);
  const { many } = textsOf(schema);
  // The other columns are hidden too, although they hold no payload: 50,000 ids would flood a query log.
  const column = (name: string, text: string): Hidden => new Hidden(text, `${rows.length} event ${name}`);
  return {
    text: many,
    untyped: many,
    values: [
      column('ids', bareArray(rows.map((row) => row.id))),
      column('types', textArray(rows.map((row) => row.type))),
      column('times', bareArray(rows.map((row) => row.time))),
      column('environments', textArray(rows.map((row) => row.environment))),
      column('contexts', rows.map((row) => row.context).join('\n')),
      column('versions', bareArray(rows.map((row) => row.metadataVersion))),
      column('subjects', textArray(rows.map((row) => row.subject))),
      trace.traceparent,
      trace.tracestate,
    ],
  };
}

/** An array literal of values that need no quotes: UUIDs, ISO times, integers. */
function bareArray(values: readonly (string | number | bigint)[]): string {
  return `{${values.join(',')}}`;
}

/** An array literal of any texts: https://www.postgresql.org/docs/current/arrays.html#ARRAYS-IO */
function textArray(values: readonly string[]): string {
  return `{${values.map((value) => `"${value.replaceAll(/[\\"]/g, '\\$&')}"`).join(',')}}`;
}

/** A row as a statement carries it. */
export type StoredRow = Omit<EventRow, 'bytes'> & TraceContext;

/**
 * Reads the rows back from a statement, in their order, for the recorder of tests.
 *
 * @returns undefined when it is not a statement of this file
 */
export function rowsIn(said: string, values: readonly unknown[]): StoredRow[] | undefined {
  const text = said.replace(/^INSERT INTO [a-z0-9_]+\.event /, `INSERT INTO ${DEFAULT_SCHEMA}.event `);
  const plain = values.map((value) => (value instanceof Hidden ? value.toPostgres() : value)) as string[];
  const [id = '', type = '', time = '', environment = '', context = '', version = '', subject = ''] = plain;
  const [traceparent, tracestate] = plain.slice(7) as (string | null)[];
  const trace: TraceContext = { traceparent: traceparent ?? null, tracestate: tracestate ?? null };
  if (text === INSERT_ONE || text === UNTYPED_ONE)
    return [{ id, type, time, environment, context, metadataVersion: wholeNumber(version), subject, ...trace }];
  if (text !== INSERT_MANY) return undefined;
  const [times, versions, contexts] = [bareItems(time), bareItems(version), context.split('\n')];
  const [types, environments, subjects] = [textItems(type), textItems(environment), textItems(subject)];
  return bareItems(id).map((one, n) => ({
    id: one,
    type: types[n]!,
    time: times[n]!,
    environment: environments[n]!,
    context: contexts[n]!,
    metadataVersion: wholeNumber(versions[n]!),
    subject: subjects[n]!,
    ...trace,
  }));
}

/** A bigint where a number would not be exact. */
export function wholeNumber(digits: string): number | bigint {
  const number = Number(digits);
  return Number.isSafeInteger(number) ? number : BigInt(digits);
}

function bareItems(literal: string): string[] {
  return literal.slice(1, -1).split(',');
}

function textItems(literal: string): string[] {
  return [...literal.matchAll(/"((?:[^"\\]|\\.)*)"/gs)].map(([, item = '']) => item.replaceAll(/\\(.)/gs, '$1'));
}
