import { Socket } from 'node:net';

const READ_BYTES = 64 * 1024;

/**
 * A socket, not yet connected, that reads into one buffer for ever: a new buffer for each read would be the streamer's
 * largest source of garbage. Until `takeOver` it emits `data` like any other socket, so that a driver can connect through it.
 */
export class ReadSocket {
  readonly socket: Socket;
  #reader: ((chunk: Buffer) => void) | undefined;

  constructor() {
    this.socket = new Socket({
      onread: {
        buffer: Buffer.allocUnsafeSlow(READ_BYTES),
        callback: (bytes, { buffer, byteOffset }) => {
          const chunk = Buffer.from(buffer, byteOffset, bytes);
          // the driver keeps what it is given
          if (this.#reader === undefined) this.socket.emit('data', Buffer.from(chunk));
          else this.#reader(chunk);
          return true;
        },
      },
    });
  }

  /** From now on what is read goes to `reader`, whose chunk is valid during the call only. */
  takeOver(reader: (chunk: Buffer) => void): void {
    this.#reader = reader;
  }
}
