import { writeLsn } from '../../lsn.ts';
import type { Lsn } from '../../lsn.ts';
import { FRAME_HEADER_BYTES } from './frames.ts';

/** A message to the server: its type, its length (which counts itself) and its payload. */
export function message(type: string, payload: Buffer = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(FRAME_HEADER_BYTES);
  head.write(type, 'latin1');
  head.writeUInt32BE(payload.length + 4, 1);
  return Buffer.concat([head, payload]);
}

/**
 * A standby status update. The LSN goes out exactly as it is, because the next commit record may begin right there.
 *
 * https://www.postgresql.org/docs/current/protocol-replication.html#PROTOCOL-REPLICATION-STANDBY-STATUS-UPDATE
 */
export function standbyStatus(flushLsn: Lsn, applyLsn: Lsn, asksForReply: boolean): Buffer {
  const status = Buffer.alloc(34);
  status.write('r', 'latin1');
  writeLsn(status, applyLsn, 1);
  writeLsn(status, flushLsn, 9);
  writeLsn(status, applyLsn, 17);
  status.writeBigInt64BE(BigInt(Date.now() - Date.UTC(2000, 0, 1)) * 1000n, 25);
  status[33] = asksForReply ? 1 : 0;
  return message('d', status);
}

/** The fields of an ErrorResponse or NoticeResponse by their letters: https://www.postgresql.org/docs/current/protocol-error-fields.html */
export function responseFields(buffer: Buffer, start: number, end: number): Record<string, string> {
  const fields: Record<string, string> = {};
  for (const field of buffer.toString('utf8', start, end).split('\0')) {
    if (field !== '') fields[field[0]!] = field.slice(1);
  }
  return fields;
}
