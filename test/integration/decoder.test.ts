import { createHash, randomUUID } from 'node:crypto';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import * as fc from 'fast-check';
import type { Pool } from 'pg';
import { PgoutputPlugin } from 'pg-logical-replication';
import postgres from 'postgres';
import { beforeAll, describe, expect, test } from 'vitest';
import { parseLsn, readLsn } from '../../src/lsn.ts';
import { Feed } from '../../src/streamer/batch/intake.fixture.ts';
import { readRows } from '../../src/streamer/batch/native.fixture.ts';
import { encode } from '../../src/streamer/batch/native.ts';
import { readCopyData, type CopyDataHandler } from '../../src/streamer/source/copy-data.ts';
import { FRAME_HEADER_BYTES, FrameReader } from '../../src/streamer/source/frames.ts';
import * as wire from '../../src/streamer/source/messages.fixture.ts';
import { PgoutputDecoder } from '../../src/streamer/source/pgoutput.ts';
import { Outbox } from '../support/outbox.ts';
import {
  OUR_OPTIONS,
  PluginLog,
  microsecondsOf,
  peek,
  valuesOf,
  type Change,
  type Recording,
  type Values,
} from '../support/wal-peek.ts';

/*
 * Two decoders that have no code in common read one real replication stream. Ours gets the bytes of the socket. For the
 * other one, pg's protocol parser cuts them, pg-logical-replication's service takes the header off, and its PgoutputPlugin
 * decodes the message: transactions, positions, times, and which bytes are the value of which column. In binary mode the
 * plugin leaves values as bytes, so a few lines of this test make values of both decoders' bytes. To check these lines too,
 * the same transactions are read a second time in text mode: there Postgres itself prints the values.
 */

const SEED = 20_260_801;

interface Given {
  readonly id: string | null;
  readonly type: string | null;
  readonly date: string | null;
  readonly environment: string | null;
  readonly context: string | null;
  readonly version: bigint | null;
  readonly subject: string | null;
  readonly traceparent: string | null;
  readonly recorded: string;
  readonly bucket: number;
}

const DEFAULTS: Omit<Given, 'id'> = {
  type: 'test',
  date: '2026-01-31 12:00:00.123456+00',
  environment: '',
  context: '{}',
  version: 1n,
  subject: '',
  traceparent: null,
  recorded: '2026-01-31 12:00:01.654321+00',
  bucket: 0,
};

/** Puts rows into the outbox by one statement. */
async function insert(db: Pool, rows: readonly Partial<Given>[]): Promise<void> {
  const whole = rows.map((row): Given => ({ id: randomUUID(), ...DEFAULTS, ...row }));
  const keys = [
    'id',
    'type',
    'date',
    'environment',
    'context',
    'version',
    'subject',
    'traceparent',
    'recorded',
    'bucket',
  ] as const;
  await db.query(
    `INSERT INTO outbox.event
       (event_id, event_type, event_date_time, environment, event_context, metadata_version, subject, traceparent, recorded_at, bucket)
     SELECT * FROM unnest
       ($1::uuid[], $2::text[], $3::timestamptz[], $4::text[], $5::json[], $6::bigint[], $7::text[], $8::text[], $9::timestamptz[], $10::smallint[])`,
    keys.map((key) => whole.map((row) => row[key])),
  );
}

/** Statements on one connection, one after the other. */
async function session(db: Pool, statements: readonly string[]): Promise<void> {
  const client = await db.connect();
  try {
    for (const statement of statements) await client.query(statement);
  } finally {
    client.release();
  }
}

const TEXTS = [
  '',
  ' ',
  'a',
  'ü€🛒',
  '\u{10ffff}\u{fffd}\u{1}\u{7f}',
  '\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627',
  '\u202eright to left\u202c \u200f\u061c marks',
  '\ufeffa byte order mark first',
  'e\u0301 combined, 👩\u200d👩\u200d👧 joined',
  'b\tn\r\n\\x "quoted" \'quoted\' {a,b} NULL',
  'x'.repeat(255),
  'ß'.repeat(35_000),
];
const CONTEXTS = [
  '{}',
  String.raw`{"nul":"\u0000","within":"a\u0000b"}`,
  String.raw`{"lone":"\ud800"}`,
  '{"a":1,"a":2}',
  '{"n":123456789012345678901234567890,"e":1e400}',
  ' { "spaces" :   [ ] }\n\t',
  '[1,2,3]',
  '"text"',
  'null',
  `{"marks":"\u202e\u200f${'\u05e9'.repeat(200)}"}`,
  `{"deep":${'['.repeat(1500)}${']'.repeat(1500)}}`,
  `{"large":"${'1 MB of 🛒 and ü. '.repeat(50_000)}"}`,
];
const FIRST_DATE = '4714-11-24 00:00:00+00 BC';
const LAST_DATE = '294276-12-31 23:59:59.999999+00';
const DATES = [
  'infinity',
  '-infinity',
  FIRST_DATE,
  '0001-12-31 23:59:59.999999+00 BC',
  '0001-01-01 00:00:00+00',
  '1899-12-31 23:59:59.999999+00',
  '1900-01-01 00:00:00+00',
  '1969-12-31 23:59:59.999999+00',
  '1970-01-01 00:00:00.000001+00',
  '1999-12-31 23:59:59.999999+00',
  '2000-01-01 00:00:00+00',
  '2024-02-29 23:59:59.123456+00',
  '2299-12-31 23:59:59.999999+00',
  '2300-01-01 00:00:00+00',
  LAST_DATE,
];
const VERSIONS = [0n, 255n, 256n, 2n ** 31n, 2n ** 32n - 1n, 2n ** 32n, 2n ** 53n + 1n, 2n ** 63n - 1n];
const IDS = ['00000000-0000-0000-0000-000000000000', 'ffffffff-ffff-ffff-ffff-ffffffffffff'];
const TRACE = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
const TRACEPARENTS = [null, '', TRACE, `${TRACE}-more`, TRACE.slice(1), TRACE.toUpperCase(), 'ü'.repeat(60)];
/** Such as no transaction of this server has: a replicated one has the time of its origin. */
const COMMIT_TIMES = ['1999-12-31 23:59:59.999999+00', FIRST_DATE, LAST_DATE, '-infinity', 'infinity'];

const text = fc.string({ unit: 'binary', maxLength: 60 }).map((any) => any.replaceAll('\0', ''));
const digits = (min: number, max: number): fc.Arbitrary<string> =>
  fc.integer({ min, max }).map((value) => String(value).padStart(2, '0'));
const hex = (length: number): fc.Arbitrary<string> =>
  fc.uint8Array({ minLength: length, maxLength: length }).map((bytes) => Buffer.from(bytes).toString('hex'));
const date = fc
  .record({
    year: fc.oneof(fc.integer({ min: -4712, max: 294_276 }), fc.integer({ min: 1890, max: 2310 })),
    rest: fc.tuple(digits(1, 12), digits(1, 28), digits(0, 23), digits(0, 59), digits(0, 59)),
    microsecond: fc.nat({ max: 999_999 }),
  })
  .map(({ year, rest: [month, day, hour, minute, second], microsecond }) => {
    const years = String(year > 0 ? year : 1 - year).padStart(4, '0');
    const fraction = String(microsecond).padStart(6, '0');
    return `${years}-${month}-${day} ${hour}:${minute}:${second}.${fraction}+00${year > 0 ? '' : ' BC'}`;
  });
const RANDOM_EVENTS = fc.sample(
  fc.record({
    id: fc.uuid(),
    type: text,
    recorded: date,
    date: fc.oneof({ weight: 9, arbitrary: date }, { weight: 1, arbitrary: fc.constantFrom('infinity', '-infinity') }),
    environment: text,
    context: fc.oneof(
      fc.json({ stringUnit: 'binary' }),
      fc.jsonValue({ stringUnit: 'binary' }).map((value) => JSON.stringify({ value }, null, 2)),
    ),
    version: fc.bigInt({ min: 0n, max: 2n ** 63n - 1n }),
    subject: text,
    traceparent: fc.oneof(
      fc.constant(null),
      text,
      fc.tuple(hex(16), hex(8), hex(1)).map(([trace, span, flags]) => `00-${trace}-${span}-${flags}`),
    ),
    bucket: fc.nat({ max: 31 }),
  }),
  { seed: SEED, numRuns: 400 },
);

const ONE = `INSERT INTO outbox.event (event_type, event_context) VALUES ('one', '{"n":1}')`;

interface Content {
  readonly name: string;
  /** How many rows of outbox.event the stream has from it. */
  readonly rows: number;
  /** Statements for one connection, or whatever else writes. */
  readonly write: readonly string[] | ((db: Pool, outbox: Outbox) => Promise<unknown>);
}

/** In the order in which they are written: what one changes of the tables, those behind it have. */
const CONTENTS: readonly Content[] = [
  {
    name: 'empty transactions, and transactions of other tables, between those of events',
    rows: 3,
    write: [
      'CREATE TABLE other (n int, text text)',
      ONE,
      'BEGIN; SELECT pg_current_xact_id(); COMMIT',
      "INSERT INTO other SELECT n, 'other' FROM generate_series(1, 10) n",
      ONE,
      `BEGIN; INSERT INTO other VALUES (0, ''); ${ONE}; UPDATE other SET n = 2; COMMIT`,
    ],
  },
  {
    name: 'a transaction of many rows, which Postgres spills to disk',
    rows: 1500,
    write: (_, outbox) => outbox.fill(1500),
  },
  {
    name: 'savepoints that are released or rolled back, and transactions that are rolled back',
    rows: 5,
    write: [
      `BEGIN; ${ONE}; SAVEPOINT a; ${ONE}; ROLLBACK TO a; SAVEPOINT b; ${ONE}; SAVEPOINT c; ${ONE}; RELEASE c; RELEASE b`,
      `DO $$ BEGIN ${ONE}; PERFORM 1 / 0; EXCEPTION WHEN division_by_zero THEN NULL; END $$`,
      `${ONE}; COMMIT`,
      `BEGIN; ${ONE}; ROLLBACK`,
      ONE,
    ],
  },
  {
    name: 'a large transaction of another table that was rolled back, with a savepoint in it',
    rows: 1,
    write: [
      "BEGIN; SAVEPOINT here; INSERT INTO other VALUES (0, ''); RELEASE here",
      "INSERT INTO other SELECT n, repeat('x', 200) FROM generate_series(1, 2000) n",
      'ROLLBACK',
      ONE,
    ],
  },
  {
    name: 'transactions that overlap',
    rows: 4,
    write: async (db) => {
      const [first, second] = await Promise.all([db.connect(), db.connect()]);
      await first.query(`BEGIN; ${ONE}`);
      await second.query(`BEGIN; ${ONE}; COMMIT`);
      await first.query(ONE);
      await second.query(ONE);
      await first.query('COMMIT');
      first.release();
      second.release();
    },
  },
  {
    name: 'rows that came by COPY',
    rows: 500,
    write: async (_, { databaseUrl }) => {
      const sql = postgres(databaseUrl, { max: 1 });
      const copy = await sql`COPY outbox.event (event_type, event_context, bucket) FROM STDIN`.writable();
      const lines = Array.from({ length: 500 }, (__, n) => `copied\t{"n":${n},"pad":"${'c'.repeat(n)}"}\t${n % 32}\n`);
      await pipeline(Readable.from(lines), copy);
      await sql.end();
    },
  },
  {
    name: 'rows in all partitions, put there through the table or directly, or moved there by an UPDATE',
    rows: 64 + 1 + 2,
    write: [
      `INSERT INTO outbox.event (event_type, event_context, bucket)
       SELECT 'partitioned', json_build_object('n', n), n % 32 FROM generate_series(0, 63) n`,
      "INSERT INTO outbox.event_05 (event_type, event_context, bucket) VALUES ('direct', '{}', 5)",
      "UPDATE outbox.event SET bucket = 7 WHERE bucket = 6 AND event_type = 'partitioned'",
    ],
  },
  {
    name: 'UPDATE, DELETE and TRUNCATE of the outbox, which the publication leaves out',
    rows: 1,
    write: [
      `BEGIN; UPDATE outbox.event SET environment = 'changed' WHERE event_type = 'one'; ${ONE}; DELETE FROM outbox.event_05; COMMIT`,
      'TRUNCATE outbox.event_06',
    ],
  },
  {
    name: 'strings: empty, long, of all widths of UTF-8, and of both directions',
    rows: TEXTS.length,
    write: (db) =>
      insert(
        db,
        TEXTS.map((type, i) => ({ type, environment: TEXTS.at(-i)!, traceparent: TEXTS.at(i - 3)! })),
      ),
  },
  {
    name: 'contexts of every kind of JSON, with \\u0000, and of 1 MB',
    rows: CONTEXTS.length,
    write: (db) =>
      insert(
        db,
        CONTEXTS.map((context) => ({ context, bucket: 1 })),
      ),
  },
  {
    name: 'dates from −infinity to infinity',
    rows: DATES.length,
    write: (db) =>
      insert(
        db,
        DATES.map((given) => ({ date: given })),
      ),
  },
  {
    name: 'extreme metadata versions and ids',
    rows: VERSIONS.length + IDS.length,
    write: (db) => insert(db, [...VERSIONS.map((version) => ({ version })), ...IDS.map((id) => ({ id }))]),
  },
  {
    name: 'traceparents, whole, broken and none',
    rows: TRACEPARENTS.length,
    write: (db) =>
      insert(
        db,
        TRACEPARENTS.map((traceparent) => ({ traceparent })),
      ),
  },
  {
    name: 'transactions of another origin, committed at any time',
    rows: COMMIT_TIMES.length,
    write: (db, { slot }) =>
      session(db, [
        `SELECT pg_replication_origin_create('${slot}'), pg_replication_origin_session_setup('${slot}')`,
        ...COMMIT_TIMES.map(
          (time, i) => `BEGIN; SELECT pg_replication_origin_xact_setup('A/${i + 1}', '${time}'); ${ONE}; COMMIT`,
        ),
        'SELECT pg_replication_origin_session_reset()',
      ]),
  },
  {
    name: 'transactions with logical messages',
    rows: 1,
    write: [
      "SELECT pg_logical_emit_message(true, 'alone', 'in a transaction of its own')",
      `BEGIN; SELECT pg_logical_emit_message(true, 'B', 'BCI'); ${ONE}; SELECT pg_logical_emit_message(false, '', ''); COMMIT`,
    ],
  },
  {
    name: 'rows before and after the user’s own columns were added, in one transaction',
    rows: 4,
    write: [
      `BEGIN; ${ONE};
       ALTER TABLE outbox.event ADD COLUMN mine text DEFAULT 'mine', ADD COLUMN made int GENERATED ALWAYS AS (bucket + 1) STORED;
       ${ONE}; COMMIT`,
      "INSERT INTO outbox.event (event_type, event_context, mine) VALUES ('mine', '{}', NULL), ('mine', '{}', 'ours')",
    ],
  },
  {
    name: 'NULL in the column that may be NULL, and in columns of the user',
    rows: 2,
    write: [
      'ALTER TABLE outbox.event ADD COLUMN optional text',
      "INSERT INTO outbox.event (event_type, event_context, traceparent, optional) VALUES ('x', '{}', NULL, NULL), ('x', '{}', '', '')",
    ],
  },
  {
    name: 'tables that are published whole, with types of the user and types that have no binary form',
    rows: 4,
    write: [
      "CREATE TYPE mood AS ENUM ('fine', 'foul'); CREATE SCHEMA \"öutbox\"",
      'ALTER TABLE outbox.event ADD COLUMN mood mood, ADD COLUMN acl aclitem',
      'CREATE TABLE published (n int PRIMARY KEY, text text, mood mood); CREATE TABLE "öutbox".event (LIKE outbox.event)',
      'CREATE TABLE public.event (LIKE outbox.event); CREATE TABLE outbox.events (LIKE outbox.event)',
      'ALTER PUBLICATION outbox SET TABLE outbox.event, published, "öutbox".event, public.event, outbox.events',
      `BEGIN; ${ONE}; INSERT INTO published VALUES (1, 'ü', 'foul'), (2, NULL, NULL); INSERT INTO published VALUES (1, '', NULL) ON CONFLICT DO NOTHING; ${ONE}; COMMIT`,
      `INSERT INTO outbox.event (event_type, event_context, mood, acl) VALUES ('whole', '{}', 'fine', makeaclitem(10, 10, 'SELECT', true))`,
      ...['"öutbox".event', 'public.event', 'outbox.events'].map(
        (
          table,
        ) => `INSERT INTO ${table} (event_id, event_type, event_date_time, environment, event_context, metadata_version, subject, recorded_at, recorded_by, bucket)
                    VALUES (gen_random_uuid(), 'other', now(), '', '{}', 1, 'x', now(), 'x', 0)`,
      ),
      ONE,
    ],
  },
  {
    name: 'UPDATE, DELETE and TRUNCATE that are published, of the outbox and of another table',
    rows: 1 + 2 + 1,
    write: [
      "ALTER PUBLICATION outbox SET (publish = 'insert, update, delete, truncate', publish_generated_columns = stored)",
      ...Array.from(
        { length: 32 },
        (_, n) => `ALTER TABLE outbox.event_${String(n).padStart(2, '0')} REPLICA IDENTITY FULL`,
      ),
      `BEGIN; UPDATE published SET text = 'changed'; ${ONE}; UPDATE published SET n = 3 WHERE n = 2; DELETE FROM published WHERE n = 3; COMMIT`,
      "UPDATE outbox.event SET environment = 'changed' WHERE bucket = 0",
      "UPDATE outbox.event SET bucket = 9 WHERE bucket = 8 AND event_type = 'partitioned'",
      'DELETE FROM outbox.event WHERE bucket = 0',
      `BEGIN; TRUNCATE outbox.event, published; ${ONE}; COMMIT`,
    ],
  },
  {
    name: 'columns in another order',
    rows: 3,
    write: [
      ONE,
      `ALTER TABLE outbox.event DROP COLUMN event_type, DROP COLUMN metadata_version, DROP COLUMN event_id,
         ADD COLUMN metadata_version bigint DEFAULT 7, ADD COLUMN event_id uuid DEFAULT gen_random_uuid(), ADD COLUMN event_type text`,
      "INSERT INTO outbox.event (event_type, event_context, environment) VALUES ('a type', '{}', 'an environment'), ('', '{}', '')",
    ],
  },
  {
    name: 'random events',
    rows: RANDOM_EVENTS.length,
    write: async (db) => {
      for (let from = 0, size = 1; from < RANDOM_EVENTS.length; from += size, size *= 3)
        await insert(db, RANDOM_EVENTS.slice(from, from + size));
    },
  },
];

/** By name, the LSNs between which its transactions commit. */
const ranges = new Map<string, { readonly from: number; readonly to: number }>();
let recording: Recording;
let textRecording: Recording;
let messagesRecording: Recording;

let outboxOid: number;

beforeAll(async () => {
  await using outbox = await Outbox.create();
  outboxOid = await outbox.eventOid();
  const db = outbox.postgres;
  // what no producer may write is decoded as well
  await db.query(`DO $$ DECLARE name text; BEGIN
    FOR name IN SELECT conname FROM pg_constraint WHERE conrelid = 'outbox.event'::regclass AND contype = 'c' LOOP
      EXECUTE format('ALTER TABLE outbox.event DROP CONSTRAINT %I', name);
    END LOOP; END $$`);
  const walEnd = async (): Promise<string> => (await db.query('SELECT pg_current_wal_insert_lsn() AS lsn')).rows[0].lsn;
  const read = (end: string, options: string, untilReplyRequested = false): Promise<Recording> =>
    peek(outbox.databaseUrl, outbox.slot, end, { options, untilReplyRequested });
  try {
    let end = await walEnd();
    for (const { name, write } of CONTENTS) {
      const from = parseLsn(end);
      await (typeof write === 'function' ? write(db, outbox) : session(db, write));
      end = await walEnd();
      ranges.set(name, { from, to: parseLsn(end) });
    }
    recording = await read(end, OUR_OPTIONS, true);
    textRecording = await read(end, OUR_OPTIONS.replace("binary 'true'", "binary 'false'"));
    messagesRecording = await read(end, `${OUR_OPTIONS}, messages 'true'`);
  } finally {
    // origins are the server's, not the database's
    await db.query('SELECT pg_replication_origin_drop(roname) FROM pg_replication_origin WHERE roname = $1', [
      outbox.slot,
    ]);
  }
});

/** Feeds the bytes of a stream in chunks of the given sizes, over and over, as the replication connection does. */
function feed(
  bytes: Buffer,
  sizes: readonly number[],
  decoder: PgoutputDecoder,
  onKeepalive: CopyDataHandler['onKeepalive'],
  makeRoom: () => void = () => expect.unreachable('a row was refused'),
): void {
  const onMessage: CopyDataHandler['onMessage'] = (buffer, start, end) => decoder.decode(buffer, start, end);
  const frames = new FrameReader(
    (type, buffer, start, end) =>
      type !== 0x64 || readCopyData(buffer, start + FRAME_HEADER_BYTES, end, { onMessage, onKeepalive }),
  );
  let at = 0;
  for (let i = 0; at < bytes.length; i++) {
    const chunk = Buffer.from(bytes.subarray(at, at + sizes[i % sizes.length]!));
    at += chunk.length;
    frames.push(chunk);
    while (frames.isStopped) {
      makeRoom();
      frames.resume();
    }
    // a reader that kept the chunk would see nonsense
    chunk.fill(0xee);
  }
}

const WHOLE = [65_536];

/** What PgoutputDecoder tells of a stream, up to an error if there is one. */
function decoded(bytes: Buffer, sizes = WHOLE): Change[] {
  const changes: Change[] = [];
  let lsn = 0;
  let ordinal = 0;
  let time = '';
  const decoder = new PgoutputDecoder(
    {
      begin: (commitLsn, buffer, timeOffset) => {
        lsn = commitLsn;
        ordinal = 0;
        time = String(buffer.readBigInt64BE(timeOffset));
        changes.push({ tag: 'begin', lsn, time });
      },
      relation: () => void changes.push({ tag: 'relation', lsn }),
      insert: (buffer, { start, end }) => {
        const values = valuesOf((slot) => (start[slot]! < 0 ? null : buffer.subarray(start[slot], end[slot])));
        changes.push({ tag: 'row', lsn, ordinal: ++ordinal, values });
        return true;
      },
      commit: (endLsn) => void changes.push({ tag: 'commit', lsn, endLsn, time }),
    },
    outboxOid,
  );
  const onKeepalive: CopyDataHandler['onKeepalive'] = (buffer, walEndOffset, replyRequested) => {
    changes.push({ tag: 'keepalive', lsn: readLsn(buffer, walEndOffset), replyRequested });
  };
  try {
    feed(bytes, sizes, decoder, onKeepalive);
  } catch (error) {
    changes.push({ tag: 'thrown', lsn, error: String(error) });
  }
  return changes;
}

const CONSTANTS = { source: 'source', deliveredAtMs: 0, origin: 'stream' };
const EPOCH_2000 = 946_684_800_000_000n;

/** A row of an insert, as JSON. */
type NativeRow = string;

/** The rows that a stream becomes in the inserts: the decoder, the intake, batches and the Native encoder make them. */
function encoded(bytes: Buffer, sizes = WHOLE, limits = { maxRows: 1000, maxBytes: 1_000_000 }): NativeRow[] {
  const rows: NativeRow[] = [];
  const { intake } = new Feed(limits);
  const cut = (): void => {
    const batch = intake.cut();
    for (const { source: _s, delivered_at: _d, origin: _o, ...row } of readRows(encode(batch, CONSTANTS)))
      rows.push(lineOf(row));
    batch.close();
  };
  feed(bytes, sizes, new PgoutputDecoder(intake, outboxOid), () => undefined, cut);
  if (intake.rows > 0) cut();
  return rows;
}

/** The rows that the inserts must have, by the values that PgoutputPlugin found. Strings are latin1, as in readRows. */
function nativeOf(changes: readonly Change[]): NativeRow[] {
  const rows: NativeRow[] = [];
  let committedAt = 0n;
  for (const change of changes) {
    if (change.tag === 'begin') committedAt = clamped(change.time);
    if (change.tag !== 'row') continue;
    const [id, type, at, environment, context, version, subject, traceparent, recordedAt, recordedBy] = change.values;
    const [, traceId = '', spanId = ''] = /^..-(.{32})-(.{16})-../su.exec(latin1(traceparent)) ?? [];
    rows.push(
      lineOf({
        event_type: latin1(type),
        event_date_time: clamped(at!),
        environment: latin1(environment),
        event_context_text: latin1(context),
        metadata_version: BigInt(version!),
        subject: latin1(subject),
        event_id: id!.replaceAll('-', ''),
        lsn: BigInt(change.lsn),
        seq: change.ordinal,
        committed_at: committedAt,
        trace_id: traceId,
        span_id: spanId,
        recorded_at: clamped(recordedAt!),
        recorded_by: latin1(recordedBy),
      }),
    );
  }
  return rows;
}

const latin1 = (value: string | null | undefined): string => Buffer.from(value ?? '').toString('latin1');

/** DateTime64(6) holds the years 1900 to 2299. */
function clamped(time: string): bigint {
  const at = BigInt(time) + EPOCH_2000;
  const [first, last] = [BigInt(Date.UTC(1900, 0, 1)) * 1000n, BigInt(Date.UTC(2300, 0, 1)) * 1000n - 1n];
  return at < first ? first : at > last ? last : at;
}

/** One line; of long strings, their hash. */
function lineOf(value: object): string {
  return JSON.stringify(value, (_, one: unknown) => {
    if (typeof one === 'bigint') return String(one);
    if (typeof one !== 'string' || one.length < 1000) return one;
    return `${one.length} characters, ${createHash('sha256').update(one).digest('hex')}`;
  });
}

/** The first line where two lists differ; undefined when they are the same. */
function difference(ours: readonly string[], theirs: readonly string[]): object | undefined {
  const length = Math.max(ours.length, theirs.length);
  for (let i = 0; i < length; i++) if (ours[i] !== theirs[i]) return { at: i, ours: ours[i], theirs: theirs[i] };
  return undefined;
}

const linesOf = (changes: readonly Change[]): string[] => changes.map(lineOf);
const listOf = (tags: Iterable<string>): string => [...new Set(tags)].toSorted().join(', ');
const isRow = (change: Change): change is Change & { tag: 'row' } => change.tag === 'row';

describe('PgoutputDecoder gives the same values as pg-logical-replication’s PgoutputPlugin', () => {
  test.each(CONTENTS.map(({ name, rows }) => [name, rows] as const))('for %s', (name, rows) => {
    const { from, to } = ranges.get(name)!;
    const of = (changes: readonly Change[]): Change[] => changes.filter(({ lsn }) => lsn >= from && lsn < to);
    const theirs = of(recording.changes);
    expect(theirs.filter(isRow)).toHaveLength(rows);
    expect(difference(linesOf(of(decoded(recording.bytes))), linesOf(theirs))).toBeUndefined();
  });

  test('for the whole stream: transactions, rows, descriptions of the table and keepalives in the same order', () => {
    const told = recording.changes.map((one) =>
      'replyRequested' in one ? `keepalive ${one.replyRequested}` : one.tag,
    );
    expect(listOf(recording.tags)).toBe(
      'begin, commit, delete, insert, origin, relation, stream abort, truncate, type, update',
    );
    expect(listOf(told)).toBe('begin, commit, keepalive false, keepalive true, relation, row');
    expect(difference(linesOf(decoded(recording.bytes)), linesOf(recording.changes))).toBeUndefined();
  });

  test('for a stream that has logical messages, too', () => {
    expect(messagesRecording.tags).toContain('message');
    expect(difference(linesOf(decoded(messagesRecording.bytes)), linesOf(messagesRecording.changes))).toBeUndefined();
  });

  test('for transactions at any LSN and time, also those that a young server does not reach', () => {
    const lsns = fc
      .uniqueArray(fc.bigInt({ min: 1n, max: 2n ** 53n - 1n }), { minLength: 2, maxLength: 8 })
      .map((several) => several.toSorted((a, b) => (a < b ? -1 : 1)));
    const time = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });
    fc.assert(
      fc.property(lsns, time, (several, at) => {
        const messages: Buffer[] = [];
        for (let i = 0; i + 1 < several.length; i += 2)
          messages.push(wire.begin(several[i]!, at), wire.commit(several[i]!, several[i + 1]!, at));
        const plugin = new PgoutputPlugin({ protoVersion: 1, publicationNames: [] });
        const log = new PluginLog();
        for (const message of messages) log.message(plugin.parse(message));
        const stream = Buffer.concat(messages.map((message) => wire.xlogData(message)));
        expect(difference(linesOf(decoded(stream)), linesOf(log.changes))).toBeUndefined();
      }),
      { seed: SEED, numRuns: 1000 },
    );
  });

  test('for any way in which the stream is cut into chunks and batches', () => {
    const sizes = fc
      .constantFrom(10, 60, 600, 6000, 90_000)
      .chain((max) => fc.array(fc.integer({ min: 1, max }), { minLength: 1, maxLength: 30 }));
    const batches = fc.record({
      maxRows: fc.integer({ min: 1, max: 500 }),
      maxBytes: fc.integer({ min: 1, max: 300_000 }),
    });
    const theirs = linesOf(recording.changes);
    const theirRows = nativeOf(recording.changes);
    fc.assert(
      fc.property(sizes, batches, (chunks, limits) => {
        expect(difference(linesOf(decoded(recording.bytes, chunks)), theirs)).toBeUndefined();
        expect(difference(encoded(recording.bytes, chunks, limits), theirRows)).toBeUndefined();
      }),
      { seed: SEED, numRuns: 20, examples: [[[1], { maxRows: 100, maxBytes: 100_000 }]] },
    );
  });
});

test('PgoutputDecoder gives the values that Postgres prints when the same transactions are read as text', () => {
  // relations and keepalives come when the server sees fit; the plugin's TextDecoder drops a byte order mark
  const transactions = ({ tag }: Change): boolean => tag !== 'relation' && tag !== 'keepalive';
  const lines = (changes: readonly Change[]): string[] =>
    linesOf(changes.filter(transactions)).map((line) => line.replaceAll('\ufeff', ''));
  expect(difference(lines(decoded(recording.bytes)), lines(textRecording.changes))).toBeUndefined();
});

test('PgoutputDecoder gives the values that were inserted', () => {
  const { from, to } = ranges.get('random events')!;
  const rows = decoded(recording.bytes).filter(isRow);
  const values = rows.filter(({ lsn }) => lsn >= from && lsn < to).map((row) => lineOf(row.values));
  const given = RANDOM_EVENTS.map((event): Values => [
    event.id,
    event.type,
    microsecondsOf(event.date),
    event.environment,
    event.context,
    String(event.version),
    event.subject,
    event.traceparent,
    microsecondsOf(event.recorded),
    'postgres',
  ]);
  expect(difference(values, given.map(lineOf))).toBeUndefined();
});

test('PgoutputDecoder, Intake and the Native encoder give the rows that PgoutputPlugin’s values have to become', () => {
  expect(difference(encoded(recording.bytes), nativeOf(recording.changes))).toBeUndefined();
});
