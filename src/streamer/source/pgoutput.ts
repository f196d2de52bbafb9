import { OutboxError } from '../../errors.ts';
import { readLsn, type Lsn } from '../../lsn.ts';

/** The columns of outbox.event that the publication sends, in the order of `Tuple`'s slots. */
export const EVENT_COLUMNS = [
  { name: 'event_id', type: 'uuid', oid: 2950 },
  { name: 'event_type', type: 'text', oid: 25 },
  { name: 'event_date_time', type: 'timestamptz', oid: 1184 },
  { name: 'environment', type: 'text', oid: 25 },
  { name: 'event_context', type: 'json', oid: 114 },
  { name: 'metadata_version', type: 'bigint', oid: 20 },
  { name: 'subject', type: 'text', oid: 25 },
  { name: 'traceparent', type: 'text', oid: 25 },
  { name: 'recorded_at', type: 'timestamptz', oid: 1184 },
  { name: 'recorded_by', type: 'text', oid: 25 },
] as const;

/** Slots of a `Tuple`. */
export const Field = {
  eventId: 0,
  eventType: 1,
  eventDateTime: 2,
  environment: 3,
  eventContext: 4,
  metadataVersion: 5,
  subject: 6,
  traceparent: 7,
  recordedAt: 8,
  recordedBy: 9,
} as const;

const FIXED_BYTES: readonly number[] = EVENT_COLUMNS.map(({ oid }) =>
  oid === 2950 ? 16 : oid === 1184 || oid === 20 ? 8 : 0,
);

/** Where the values of one row lie in the message's buffer. Reused for every row; a start of −1 is NULL, which traceparent alone may be. */
export interface Tuple {
  readonly start: Int32Array;
  readonly end: Int32Array;
}

/** What the decoder tells, in WAL order. Buffers are valid during the call only. */
export interface ChangeHandler {
  /** A committed transaction begins. `commitLsn` is the start of its commit record; its time is an Int64 (µs since 2000-01-01) at `timeOffset`. */
  begin(commitLsn: Lsn, buffer: Buffer, timeOffset: number): void;
  /** One row put into the outbox. Returns false when there is no room: the same message is decoded again later. */
  insert(buffer: Buffer, tuple: Tuple): boolean;
  /** The transaction ends; `endLsn` is the first byte behind its commit record. */
  commit(endLsn: Lsn): void;
  /** Postgres described the outbox table (the first time, and again after every change of its catalog entry). */
  relation(): void;
}

const A = 0x41; // Stream Abort
const B = 0x42; // Begin
const C = 0x43; // Commit
const D = 0x44; // Delete
const I = 0x49; // Insert
const M = 0x4d; // Message
const N = 0x4e; // in an Insert: the new row follows
const O = 0x4f; // Origin
const R = 0x52; // Relation
const T = 0x54; // Truncate
const U = 0x55; // Update
const Y = 0x59; // Type
// Offsets count from the type byte. Integers are big-endian, times are µs since 2000-01-01, a String ends with a zero byte.
// Begin: Byte1 'B' · Int64 LSN where the commit record begins · Int64 commit time · Int32 xid
const BEGIN_LSN = 1;
const BEGIN_TIME = BEGIN_LSN + 8;
const BEGIN_BYTES = BEGIN_TIME + 8 + 4;
// Commit: Byte1 'C' · Int8 flags · Int64 LSN where the commit record begins · Int64 LSN behind it · Int64 commit time
const COMMIT_LSN = 1 + 1;
const COMMIT_END_LSN = COMMIT_LSN + 8;
const COMMIT_BYTES = COMMIT_END_LSN + 8 + 8;
// Insert: Byte1 'I' · Int32 OID of the relation · Byte1 'N' · Int16 number of columns · a value for each
const INSERT_OID = 1;
const INSERT_NEW = INSERT_OID + 4;
const INSERT_COUNT = INSERT_NEW + 1;
const INSERT_VALUES = INSERT_COUNT + 2;
// Value: Byte1 kind, 'n' for NULL, 'b' for binary, 't' for text · after the latter two Int32 length · as many bytes
const KIND_NULL = 0x6e;
const KIND_BINARY = 0x62;
const KIND_TEXT = 0x74;
// Relation: Byte1 'R' · Int32 OID · String schema · String name · Int8 replica identity · Int16 number of columns · each column
const RELATION_OID = 1;
const RELATION_SCHEMA = RELATION_OID + 4;

/**
 * Decodes pgoutput protocol 1, binary mode: extents of values, no values. Rows of other tables, and what an outbox does
 * not do (UPDATE, DELETE, TRUNCATE), pass unseen; a message of an unknown type is an error. outbox.event is known by its OID: the
 * stream describes it once, by the name that it had then.
 *
 * https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html
 */
export class PgoutputDecoder {
  readonly #handler: ChangeHandler;
  readonly #tuple: Tuple = {
    start: new Int32Array(EVENT_COLUMNS.length),
    end: new Int32Array(EVENT_COLUMNS.length),
  };
  readonly #outboxOid: number;
  /** OIDs of other tables that were described: whatever was not is never passed over. Each with its name where its rows may be events. */
  readonly #others = new Map<number, string | undefined>();
  /** Another table that has all columns of outbox.event, if the last message has described it. */
  #alike: { readonly oid: number; readonly name: string } | undefined;
  /** Slot of each column on the wire, −1 for columns that are not ours. */
  #slots = new Int8Array(0);
  #inTransaction = false;
  /** Of the transaction that was begun last. They come in commit order, each once. */
  #commitLsn: Lsn = -1;

  /** @param outboxOid of outbox.event, the root of its partitions */
  constructor(handler: ChangeHandler, outboxOid: number) {
    this.#handler = handler;
    this.#outboxOid = outboxOid;
  }

  /** True between BEGIN and COMMIT. */
  get inTransaction(): boolean {
    return this.#inTransaction;
  }

  /** Decodes the message `[start, end)`. Returns false when its row found no room. Throws OUTBOX_PROTOCOL and OUTBOX_PG_TABLE_CHANGED. */
  decode(buffer: Buffer, start: number, end: number): boolean {
    if (end <= start) throw malformed('an empty message');
    switch (buffer[start]) {
      case I:
        return this.#insert(buffer, start, end);
      case B:
        need(start + BEGIN_BYTES, end, 'begin');
        this.#begin(lsnAt(buffer, start + BEGIN_LSN));
        this.#handler.begin(this.#commitLsn, buffer, start + BEGIN_TIME);
        return true;
      case C:
        need(start + COMMIT_BYTES, end, 'commit');
        this.#commit(lsnAt(buffer, start + COMMIT_LSN), lsnAt(buffer, start + COMMIT_END_LSN));
        return true;
      case R:
        this.#relation(buffer, start, end);
        return true;
      case D:
      case M:
      case O:
      case T:
      case U:
      // a rolled back savepoint of a transaction on whatever table, which Postgres 18 tells although nothing of it was sent
      case A:
      case Y:
        return true;
      default:
        throw malformed(`unknown message type 0x${buffer[start]!.toString(16).padStart(2, '0')}`);
    }
  }

  #begin(commitLsn: Lsn): void {
    if (this.#inTransaction) throw malformed('begin inside a transaction');
    if (commitLsn <= this.#commitLsn) throw malformed('a transaction that is not behind the one before');
    this.#inTransaction = true;
    this.#commitLsn = commitLsn;
  }

  #commit(commitLsn: Lsn, endLsn: Lsn): void {
    if (!this.#inTransaction) throw malformed('commit outside a transaction');
    if (commitLsn !== this.#commitLsn || endLsn <= commitLsn) throw malformed('commit of another transaction');
    this.#inTransaction = false;
    this.#handler.commit(endLsn);
  }

  #insert(buffer: Buffer, start: number, end: number): boolean {
    need(start + INSERT_VALUES, end, 'insert');
    if (!this.#inTransaction) throw malformed('insert outside a transaction');
    const oid = buffer.readUInt32BE(start + INSERT_OID);
    if (oid !== this.#outboxOid) {
      if (!this.#others.has(oid)) throw malformed(`insert into a table that was not described (OID ${oid})`);
      this.#alike = undefined;
      const name = this.#others.get(oid);
      if (name === undefined) return true;
      throw new OutboxError('OUTBOX_PG_TABLE_CHANGED', {
        detail: `WAL holds events under the name of ${name}, not of outbox.event: one of them was a partition of the other`,
      });
    }
    if (buffer[start + INSERT_NEW] !== N) throw malformed('insert without a new tuple');
    const slots = this.#slots;
    if (buffer.readUInt16BE(start + INSERT_COUNT) !== slots.length)
      throw malformed('a row with another number of columns than its table');
    const tuple = this.#tuple;
    tuple.start.fill(-1);
    let offset = start + INSERT_VALUES;
    for (let column = 0; column < slots.length; column++) {
      const slot = slots[column]!;
      need(offset + 1, end, 'row');
      const kind = buffer[offset++];
      if (kind === KIND_NULL) {
        if (slot < 0 || slot === Field.traceparent) continue;
        throw nullIn(slot);
      }
      if (kind !== KIND_BINARY && kind !== KIND_TEXT) throw malformed(`a value of kind 0x${kind?.toString(16)}`);
      need(offset + 4, end, 'row');
      const from = offset + 4;
      const to = from + buffer.readUInt32BE(offset);
      need(to, end, 'row');
      offset = to;
      if (slot < 0) continue;
      const fixed = FIXED_BYTES[slot]!;
      if (fixed > 0 && (kind !== KIND_BINARY || to - from !== fixed)) {
        throw malformed(`column ${EVENT_COLUMNS[slot]!.name} is not ${fixed} binary bytes`);
      }
      tuple.start[slot] = from;
      tuple.end[slot] = to;
    }
    return this.#handler.insert(buffer, tuple);
  }

  #relation(buffer: Buffer, start: number, end: number): void {
    need(start + RELATION_SCHEMA, end, 'relation');
    const oid = buffer.readUInt32BE(start + RELATION_OID);
    const schemaEnd = zero(buffer, start + RELATION_SCHEMA, end);
    const nameEnd = zero(buffer, schemaEnd + 1, end);
    const { slots, wrong } = columnsOf(buffer, nameEnd + 1 + 1, end); // behind the zero byte · Int8 replica identity
    if (oid !== this.#outboxOid) {
      const schema = buffer.toString('utf8', start + RELATION_SCHEMA, schemaEnd);
      const name = buffer.toString('utf8', schemaEnd + 1, nameEnd);
      if (schema === 'outbox' && name === 'event')
        throw new OutboxError('OUTBOX_PG_TABLE_CHANGED', {
          detail: `WAL holds events of another outbox.event (OID ${oid}, now it is ${this.#outboxOid})`,
        });
      this.#other(oid, schema, name, wrong.length === 0);
      return;
    }
    if (wrong.length > 0) throw new OutboxError('OUTBOX_PG_TABLE_CHANGED', { problems: wrong });
    this.#alike = undefined;
    this.#slots = slots;
    this.#handler.relation();
  }

  /**
   * Events go by the name of the topmost table that is published, which is described just before the partition: so a table that
   * outbox.event was a partition of is told from one that only looks like it.
   */
  #other(oid: number, schema: string, name: string, isAlike: boolean): void {
    const isPartition = isAlike && schema === 'outbox' && /^event_\d\d$/.test(name);
    this.#others.set(oid, isPartition ? `${schema}.${name}` : undefined);
    if (isPartition && this.#alike !== undefined) this.#others.set(this.#alike.oid, this.#alike.name);
    this.#alike = isAlike && !isPartition ? { oid, name: `${schema}.${name}` } : undefined;
  }
}

/** Which of our columns each column of a Relation message is, and what is wrong with them. @param at behind the replica identity */
function columnsOf(buffer: Buffer, at: number, end: number): { slots: Int8Array<ArrayBuffer>; wrong: string[] } {
  let offset = at;
  need(offset + 2, end, 'relation'); // Int16 number of columns
  const slots = new Int8Array(buffer.readUInt16BE(offset)).fill(-1);
  offset += 2;
  const wrong: string[] = [];
  for (let column = 0; column < slots.length; column++) {
    // Int8 flags · String name · Int32 OID of the type · Int32 modifier of the type
    const columnEnd = zero(buffer, offset + 1, end);
    need(columnEnd + 1 + 4 + 4, end, 'relation');
    const name = buffer.toString('utf8', offset + 1, columnEnd);
    const slot = EVENT_COLUMNS.findIndex((c) => c.name === name);
    const expected = EVENT_COLUMNS[slot];
    if (expected !== undefined && buffer.readUInt32BE(columnEnd + 1) !== expected.oid)
      wrong.push(`${name} is not of type ${expected.type}`);
    slots[column] = slot;
    offset = columnEnd + 1 + 4 + 4;
  }
  EVENT_COLUMNS.forEach(({ name }, slot) => {
    if (!slots.includes(slot)) wrong.push(`${name} is not published`);
  });
  return { slots, wrong };
}

function lsnAt(buffer: Buffer, offset: number): Lsn {
  try {
    return readLsn(buffer, offset);
  } catch {
    throw malformed('an LSN beyond 2^53');
  }
}

function zero(buffer: Buffer, start: number, end: number): number {
  const at = buffer.indexOf(0, start);
  if (at < 0 || at >= end) throw malformed('a name without its end');
  return at;
}

function need(offset: number, end: number, what: string): void {
  if (offset > end) throw malformed(`a ${what} message is truncated`);
}

function nullIn(slot: number): OutboxError {
  return new OutboxError('OUTBOX_PG_TABLE_CHANGED', { problems: [`${EVENT_COLUMNS[slot]!.name} is NULL`] });
}

function malformed(detail: string): OutboxError {
  return new OutboxError('OUTBOX_PROTOCOL', { detail: `pgoutput: ${detail}` });
}
