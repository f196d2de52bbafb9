import { OutboxError } from '../../errors.ts';

/** 'w', start, end and time before the payload of pgoutput. */
const XLOG_HEADER_BYTES = 25;
const KEEPALIVE_BYTES = 18;

/** What the walsender tells, in WAL order. */
export interface CopyDataHandler {
  /** Takes a message of pgoutput; returns false when there is no room for it now (see FrameReader). */
  readonly onMessage: (buffer: Buffer, start: number, end: number) => boolean;
  /** The server has sent everything up to the LSN at `walEndOffset`, and wants a status at once when `replyRequested`. */
  readonly onKeepalive: (buffer: Buffer, walEndOffset: number, replyRequested: boolean) => void;
}

/**
 * Reads the payload of a CopyData message, `[at, end)`. Returns false when there is no room for it. Throws OUTBOX_PROTOCOL.
 *
 * https://www.postgresql.org/docs/current/protocol-replication.html#PROTOCOL-REPLICATION-XLOGDATA
 */
export function readCopyData(buffer: Buffer, at: number, end: number, handler: CopyDataHandler): boolean {
  if (buffer[at] === 0x77 && end - at > XLOG_HEADER_BYTES)
    return handler.onMessage(buffer, at + XLOG_HEADER_BYTES, end);
  if (buffer[at] === 0x6b && end - at === KEEPALIVE_BYTES) {
    handler.onKeepalive(buffer, at + 1, buffer[at + 17] === 1);
    return true;
  }
  throw new OutboxError('OUTBOX_PROTOCOL', {
    detail: `a replication message of type 0x${buffer[at]?.toString(16)} and ${end - at} bytes`,
  });
}
