import { writeLsn, type Lsn } from '../../lsn.ts';
import { shortened } from '../../server-message.ts';
import { FRAME_HEADER_BYTES, LENGTH_BYTES, TYPE_BYTES } from './frames.ts';

/**
 * Standby status update: Byte1 'r' · Int64 LSN up to which WAL is written · Int64 flushed · Int64 applied · Int64 our clock, µs
 * since 2000-01-01 · Byte1 1 when we want a reply at once
 */
const STATUS_WRITTEN = 1;
const STATUS_FLUSHED = STATUS_WRITTEN + 8;
const STATUS_APPLIED = STATUS_FLUSHED + 8;
const STATUS_CLOCK = STATUS_APPLIED + 8;
const STATUS_WANTS_REPLY = STATUS_CLOCK + 8;
const STATUS_BYTES = STATUS_WANTS_REPLY + 1;

/** A message to the server: Byte1 type · Int32 length, which counts itself but not the type · the payload. */
export function message(type: string, payload: Buffer = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(FRAME_HEADER_BYTES);
  head.write(type, 'latin1');
  head.writeUInt32BE(LENGTH_BYTES + payload.length, TYPE_BYTES);
  return Buffer.concat([head, payload]);
}

/**
 * A standby status update. The LSN goes out exactly as it is, because the next commit record may begin right there.
 *
 * https://www.postgresql.org/docs/current/protocol-replication.html#PROTOCOL-REPLICATION-STANDBY-STATUS-UPDATE
 */
export function standbyStatus(flushLsn: Lsn, applyLsn: Lsn, asksForReply: boolean): Buffer {
  const status = Buffer.alloc(STATUS_BYTES);
  status.write('r', 'latin1');
  writeLsn(status, applyLsn, STATUS_WRITTEN);
  writeLsn(status, flushLsn, STATUS_FLUSHED);
  writeLsn(status, applyLsn, STATUS_APPLIED);
  status.writeBigInt64BE(BigInt(Date.now() - Date.UTC(2000, 0, 1)) * 1000n, STATUS_CLOCK);
  status[STATUS_WANTS_REPLY] = asksForReply ? 1 : 0;
  return message('d', status);
}

/**
 * The fields of an ErrorResponse or NoticeResponse by their letters, each cut where it is long. Its payload: for each field Byte1
 * letter · String, then a zero byte.
 *
 * https://www.postgresql.org/docs/current/protocol-error-fields.html
 */
export function responseFields(buffer: Buffer, start: number, end: number): Record<string, string> {
  const fields: Record<string, string> = {};
  for (const field of buffer.toString('utf8', start, end).split('\0')) {
    if (field !== '') fields[field[0]!] = shortened(field.slice(1));
  }
  return fields;
}
