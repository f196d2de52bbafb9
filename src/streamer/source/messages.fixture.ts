/** Real messages of pgoutput (protocol 1, binary) and of the replication protocol around it, byte for byte. For tests. */
import { EVENT_COLUMNS, type Tuple } from './event-columns.ts';
import { type ChangeHandler } from './pgoutput.ts';

export interface WireColumn {
  readonly name: string;
  readonly oid: number;
}
/** A value as it travels: binary bytes, the text form of a type without a send function, NULL, or an unchanged TOAST. */
export type WireValue = Buffer | { readonly text: string } | null | 'unchanged';

export const OUTBOX_OID = 16_400;

const int16 = (value: number): Buffer => integer(2, (buffer) => buffer.writeUInt16BE(value));
const int32 = (value: number): Buffer => integer(4, (buffer) => buffer.writeInt32BE(value));
const uint32 = (value: number): Buffer => integer(4, (buffer) => buffer.writeUInt32BE(value));
const int64 = (value: number | bigint): Buffer =>
  integer(8, (buffer) => buffer.writeBigInt64BE(BigInt.asIntN(64, BigInt(value))));
const string = (text: string): Buffer => Buffer.from(`${text}\0`);
const char = (text: string): Buffer => Buffer.from(text, 'latin1');

function integer(bytes: number, write: (buffer: Buffer) => void): Buffer {
  const buffer = Buffer.alloc(bytes);
  write(buffer);
  return buffer;
}

/** @param time µs since 2000-01-01 */
export function begin(commitLsn: number | bigint, time: number | bigint = 0, xid = 700): Buffer {
  return Buffer.concat([char('B'), int64(commitLsn), int64(time), uint32(xid)]);
}

export function commit(commitLsn: number | bigint, endLsn: number | bigint, time: number | bigint = 0): Buffer {
  return Buffer.concat([char('C'), Buffer.of(0), int64(commitLsn), int64(endLsn), int64(time)]);
}

export function relation(
  columns: readonly WireColumn[] = EVENT_COLUMNS,
  { oid = OUTBOX_OID, schema = 'outbox', name = 'event' } = {},
): Buffer {
  const described = columns.map((column) =>
    Buffer.concat([Buffer.of(0), string(column.name), uint32(column.oid), int32(-1)]),
  );
  return Buffer.concat([
    char('R'),
    uint32(oid),
    string(schema),
    string(name),
    char('d'),
    int16(columns.length),
    ...described,
  ]);
}

export function insert(values: readonly WireValue[], oid = OUTBOX_OID): Buffer {
  return Buffer.concat([char('I'), uint32(oid), char('N'), int16(values.length), ...values.map(wireValue)]);
}

export function truncate(...oids: number[]): Buffer {
  return Buffer.concat([char('T'), int32(oids.length), Buffer.of(0), ...oids.map(uint32)]);
}

export function logicalMessage(prefix: string, content: Buffer): Buffer {
  return Buffer.concat([char('M'), Buffer.of(1), int64(1), string(prefix), int32(content.length), content]);
}

export function origin(name: string): Buffer {
  return Buffer.concat([char('O'), int64(1), string(name)]);
}

export function typeDescription(schema: string, name: string): Buffer {
  return Buffer.concat([char('Y'), uint32(16_500), string(schema), string(name)]);
}

function wireValue(value: WireValue): Buffer {
  if (value === null) return char('n');
  if (value === 'unchanged') return char('u');
  const [kind, bytes] = Buffer.isBuffer(value) ? ['b', value] : ['t', Buffer.from(value.text)];
  return Buffer.concat([char(kind), int32(bytes.length), bytes]);
}

/** A row of outbox.event. */
export interface WireEvent {
  /** 16 bytes */
  readonly eventId: Buffer | null;
  readonly eventType: string | null;
  /** µs since 2000-01-01 */
  readonly eventDateTime: bigint | null;
  readonly environment: string | null;
  readonly eventContext: string | null;
  readonly metadataVersion: bigint | null;
  readonly subject: string | null;
  readonly traceparent: string | null;
  /** µs since 2000-01-01 */
  readonly recordedAt: bigint | null;
  readonly recordedBy: string | null;
}

export function event(given: Partial<WireEvent> = {}): WireEvent {
  return {
    eventId: Buffer.from('0198f00d0000700080000000000000ff', 'hex'),
    eventType: 'order.created',
    eventDateTime: 86_400_000_000n,
    environment: 'test',
    eventContext: '{"order":1}',
    metadataVersion: 1n,
    subject: 'order/1',
    traceparent: null,
    recordedAt: 86_400_000_001n,
    recordedBy: 'app',
    ...given,
  };
}

/** Its values in the order of EVENT_COLUMNS. */
export function valuesOf(row: WireEvent): (Buffer | null)[] {
  const text = (value: string | null): Buffer | null => (value === null ? null : Buffer.from(value));
  return [
    row.eventId,
    text(row.eventType),
    row.eventDateTime === null ? null : int64(row.eventDateTime),
    text(row.environment),
    text(row.eventContext),
    row.metadataVersion === null ? null : int64(row.metadataVersion),
    text(row.subject),
    text(row.traceparent),
    row.recordedAt === null ? null : int64(row.recordedAt),
    text(row.recordedBy),
  ];
}

export function insertEvent(given: Partial<WireEvent> = {}): Buffer {
  return insert(valuesOf(event(given)));
}

export interface WireTransaction {
  readonly commitLsn: number;
  readonly endLsn: number;
  /** µs since 2000-01-01 */
  readonly time?: bigint;
  readonly events: readonly Partial<WireEvent>[];
}

/** BEGIN, one INSERT an event, COMMIT. The relation must have been sent before. */
export function transaction({ commitLsn, endLsn, time = 0n, events }: WireTransaction): Buffer[] {
  return [begin(commitLsn, time), ...events.map(insertEvent), commit(commitLsn, endLsn, time)];
}

/** A message of the frontend/backend protocol. */
export function frame(type: string, payload: Buffer): Buffer {
  return Buffer.concat([char(type), int32(payload.length + 4), payload]);
}

/** A message of pgoutput as the walsender sends it. */
export function xlogData(payload: Buffer, lsn: number | bigint = 0): Buffer {
  return frame('d', Buffer.concat([char('w'), int64(lsn), int64(lsn), int64(0), payload]));
}

export function keepalive(walEnd: number | bigint, replyRequested = false): Buffer {
  return frame('d', Buffer.concat([char('k'), int64(walEnd), int64(0), Buffer.of(replyRequested ? 1 : 0)]));
}

/** Copies of the values that a decoded tuple points at, in the order of EVENT_COLUMNS. */
export function copyTuple(buffer: Buffer, { start, end }: Tuple): (Buffer | null)[] {
  return EVENT_COLUMNS.map((_, slot) =>
    start[slot]! < 0 ? null : Buffer.from(buffer.subarray(start[slot], end[slot])),
  );
}

export type Change =
  | { readonly begin: number; readonly time: bigint }
  | { readonly row: (Buffer | null)[] }
  | { readonly commit: number }
  | 'relation';

/** Writes down what a decoder tells it. */
export class Recorder implements ChangeHandler {
  readonly changes: Change[] = [];
  /** Whether `insert` has room. */
  hasRoom = true;

  begin(lsn: number, buffer: Buffer, timeOffset: number): void {
    this.changes.push({ begin: lsn, time: buffer.readBigInt64BE(timeOffset) });
  }

  insert(buffer: Buffer, tuple: Tuple): boolean {
    this.changes.push({ row: copyTuple(buffer, tuple) });
    return this.hasRoom;
  }

  commit(endLsn: number): void {
    this.changes.push({ commit: endLsn });
  }

  relation(): void {
    this.changes.push('relation');
  }

  get rows(): (Buffer | null)[][] {
    return this.changes.flatMap((change) => (typeof change === 'object' && 'row' in change ? [change.row] : []));
  }
}
