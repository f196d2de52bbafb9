import { OutboxError } from '../../errors.ts';

/**
 * XLogData: Byte1 'w' · Int64 LSN where this data begins · Int64 LSN where the server's WAL ends · Int64 the server's clock, µs
 * since 2000-01-01 · a message of pgoutput
 */
const XLOG_DATA = 0x77;
const XLOG_HEADER_BYTES = 1 + 8 + 8 + 8;

/** Keepalive: Byte1 'k' · Int64 LSN where the server's WAL ends · Int64 its clock · Byte1 1 when it wants a status at once */
const KEEPALIVE = 0x6b;
const KEEPALIVE_WAL_END = 1;
const KEEPALIVE_WANTS_REPLY = KEEPALIVE_WAL_END + 8 + 8;
const KEEPALIVE_BYTES = KEEPALIVE_WANTS_REPLY + 1;

/** What the walsender tells, in WAL order. */
export interface CopyDataHandler {
  /** Takes a message of pgoutput; returns false when there is no room for it now (see FrameReader). */
  readonly onMessage: (buffer: Buffer, start: number, end: number) => boolean;
  /** The server has sent everything up to the LSN at `walEndOffset`, and wants a status at once when `replyRequested`. */
  readonly onKeepalive: (buffer: Buffer, walEndOffset: number, replyRequested: boolean) => void;
}

/** Whether the end of a message of pgoutput need not be seen, of which `[start, end)` has come. */
export type CopyDataFilter = (buffer: Buffer, start: number, end: number) => boolean;

/**
 * Reads the payload of a CopyData message, `[at, end)`. Returns false when there is no room for it. Throws OUTBOX_PROTOCOL.
 *
 * https://www.postgresql.org/docs/current/protocol-replication.html#PROTOCOL-REPLICATION-XLOGDATA
 */
export function readCopyData(buffer: Buffer, at: number, end: number, handler: CopyDataHandler): boolean {
  if (buffer[at] === XLOG_DATA && end - at > XLOG_HEADER_BYTES)
    return handler.onMessage(buffer, at + XLOG_HEADER_BYTES, end);
  if (buffer[at] === KEEPALIVE && end - at === KEEPALIVE_BYTES) {
    handler.onKeepalive(buffer, at + KEEPALIVE_WAL_END, buffer[at + KEEPALIVE_WANTS_REPLY] === 1);
    return true;
  }
  throw new OutboxError('OUTBOX_PROTOCOL', {
    detail: `a replication message of type 0x${buffer[at]?.toString(16)} and ${end - at} bytes`,
  });
}

/** Whether what begins at `at` is a message of pgoutput of which nobody wants more than `[at, end)`. */
export function isUnwantedData(buffer: Buffer, at: number, end: number, isUnwanted: CopyDataFilter): boolean {
  return buffer[at] === XLOG_DATA && isUnwanted(buffer, at + XLOG_HEADER_BYTES, end);
}
