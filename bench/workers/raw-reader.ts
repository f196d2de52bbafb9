/** Reads a slot, paced or as fast as it can. Counts the rows and discards them. Acknowledges nothing. */
import type { Socket } from 'node:net';
import { FRAME_HEADER_BYTES, FrameReader } from '../../src/streamer/source/frames.ts';
import { Pace } from '../../src/streamer/source/pace.ts';
import { publicationOf } from '../../src/streamer/share.ts';
import { ReadSocket } from '../../src/streamer/source/socket.ts';
import { message, standbyStatus } from '../../src/streamer/source/wire.ts';
import { connectClient } from '../../src/streamer/source/database.ts';
import { given, say } from '../worker.ts';

const STATUS_MS = 1000;
const COPY_DATA = 0x64;
const COPY_BOTH = 0x57;
const ERROR = 0x45;
const KEEPALIVE = 0x6b;
const INSERT = 0x49;
/** 'w', start, end and time before the payload of pgoutput. */
const XLOG_HEADER_BYTES = 25;

const events = Number(given('EVENTS'));
const isPaced = given('PACED') === 'yes';
let rows = 0;

const reader = new ReadSocket();
const client = await connectClient(
  given('DATABASE_URL'),
  { replication: true, socket: () => reader.socket },
  (error) => {
    throw error;
  },
);
const { stream: socket } = (client as unknown as { connection: { stream: Socket } }).connection;
const pace = new Pace(socket, () => void socket.resume());
const frames = new FrameReader((type, buffer, start, end) => {
  const at = start + FRAME_HEADER_BYTES;
  if (type === COPY_BOTH) say('attached');
  else if (type === ERROR) throw new Error(buffer.toString('utf8', at, end));
  else if (type === COPY_DATA) {
    if (buffer[at] === KEEPALIVE) {
      if (buffer[at + 17] === 1) status();
    } else if (buffer[at + XLOG_HEADER_BYTES] === INSERT && ++rows === events) say('done');
  }
  return true;
});
socket.removeAllListeners('data');
reader.takeOver((chunk) => {
  frames.push(chunk);
  if (isPaced && pace.rests()) socket.pause();
});
const options = `proto_version '1', publication_names '${publicationOf(given('SLOT'), 'outbox')}', binary 'true'`;
socket.write(message('Q', Buffer.from(`START_REPLICATION SLOT "${given('SLOT')}" LOGICAL 0/0 (${options})\0`)));
setInterval(status, STATUS_MS);

function status(): void {
  socket.write(standbyStatus(0, 0, false));
}
