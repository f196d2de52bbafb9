import { INSERT_COLUMNS } from '../clickhouse/columns.ts';
import type { Batch } from './batch.ts';
import { CHUNK_BYTES, type Column } from './column.ts';
import { countRows, type Rows } from './rows.ts';
import { fromMilliseconds } from './time.ts';

/** What is the same for every row of a batch. */
export interface BatchConstants {
  /** Which stream the events come from: system identifier and slot. */
  readonly source: string;
  /** The intent's time, ms since 1970: the same at every repetition of the insert. */
  readonly deliveredAtMs: number;
  readonly origin: string;
}

/** Whole numbers up to 2^63 - 1: the only type that ClickHouse does not wrap where a column holds fewer, but refuses (407). */
const WHOLE = 'Decimal(18, 0)';
const TIME = "DateTime64(6, 'UTC')";
/** Bytes of a value; strings have their own. */
const WIDTHS = { String: 0, UInt32: 4, UInt64: 8, [WHOLE]: 8, UUID: 16, [TIME]: 8 } as const;

/** Bytes that the constant columns add to each row. */
export function constantBytes({ source, origin }: Pick<BatchConstants, 'source' | 'origin'>): number {
  return string(source).length + string(origin).length + 8;
}

/**
 * A batch, or some of its rows, as one block in ClickHouse's Native format, which is one part (a partition) and one
 * deduplication unit: its column and row counts, then for each column its name, its type and all its values. Strings go to
 * LowCardinality columns as they are; ClickHouse converts. Yields the batch's own memory: nothing is copied.
 *
 * https://clickhouse.com/docs/interfaces/formats/Native
 */
export function* encode(
  batch: Batch,
  constants: BatchConstants,
  runs?: readonly Rows[],
): Generator<Buffer, void, undefined> {
  const rows = runs === undefined ? batch.rows : countRows(runs);
  const deliveredAt = Buffer.alloc(8);
  const { high, low } = fromMilliseconds(constants.deliveredAtMs);
  deliveredAt.writeUInt32LE(low, 0);
  deliveredAt.writeInt32LE(high, 4);
  function* column(name: ColumnName, type: keyof typeof WIDTHS, values: Column): Generator<Buffer, void, undefined> {
    yield heading(name, type);
    yield* runs === undefined ? values.parts() : values.partsOf(runs, WIDTHS[type]);
  }

  yield Buffer.concat([varint(INSERT_COLUMNS.length), varint(rows)]);
  yield* column('event_type', 'String', batch.eventType);
  yield* column('event_date_time', TIME, batch.eventDateTime);
  yield* column('environment', 'String', batch.environment);
  yield* column('event_context_text', 'String', batch.eventContextText);
  yield* column('metadata_version', WHOLE, batch.metadataVersion);
  yield* column('subject', 'String', batch.subject);
  yield* column('event_id', 'UUID', batch.eventId);
  yield* constant('source', 'String', string(constants.source), rows);
  yield* column('lsn', 'UInt64', batch.lsn);
  yield* column('seq', 'UInt32', batch.seq);
  yield* column('committed_at', TIME, batch.committedAt);
  yield* constant('delivered_at', TIME, deliveredAt, rows);
  yield* column('trace_id', 'String', batch.traceId);
  yield* column('span_id', 'String', batch.spanId);
  yield* column('recorded_at', TIME, batch.recordedAt);
  yield* column('recorded_by', 'String', batch.recordedBy);
  yield* constant('origin', 'String', string(constants.origin), rows);
}

type ColumnName = (typeof INSERT_COLUMNS)[number];

/** One chunk of repetitions serves the whole column. */
function* constant(name: ColumnName, type: string, value: Buffer, rows: number): Generator<Buffer, void, undefined> {
  yield heading(name, type);
  const perChunk = Math.min(rows, Math.max(1, Math.floor(CHUNK_BYTES / value.length)));
  const chunk = Buffer.alloc(perChunk * value.length, value);
  for (let left = rows; left > 0; left -= perChunk) {
    yield left >= perChunk ? chunk : chunk.subarray(0, left * value.length);
  }
}

function heading(name: string, type: string): Buffer {
  return Buffer.concat([string(name), string(type)]);
}

function string(text: string): Buffer {
  const bytes = Buffer.from(text);
  return Buffer.concat([varint(bytes.length), bytes]);
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  for (; rest > 0x7f; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 0x80);
  return Buffer.from([...bytes, rest]);
}
