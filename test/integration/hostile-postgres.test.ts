import { once } from 'node:events';
import { createServer, type AddressInfo, type Server } from 'node:net';
import { expect, test } from 'vitest';
import { Streamer } from '../support/streamer.ts';

/** Byte1 type · Int32 length · the payload. */
function message(type: string, body: string): Buffer {
  const payload = Buffer.from(body);
  const head = Buffer.alloc(5);
  head.write(type, 'latin1');
  head.writeInt32BE(4 + payload.length, 1);
  return Buffer.concat([head, payload]);
}

/** A streamer whose Postgres is this server. */
async function streamerOf(server: Server): Promise<Streamer> {
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as AddressInfo;
  return new Streamer({
    DATABASE_URL: `postgres://someone:p@127.0.0.1:${port}/app`,
    CLICKHOUSE_URL: 'http://127.0.0.1:1/app',
  });
}

test('the streamer logs an error of Postgres whose message and SQLSTATE are megabytes, cut', async () => {
  const long = 'x'.repeat(3_000_000);
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.once('data', () => socket.end(message('E', `SFATAL\0VFATAL\0C57P01${long}\0M${long}\0\0`)));
  });
  const streamer = await streamerOf(server);
  const { err } = await streamer.failure('OUTBOX_PG_UNREACHABLE');
  expect(err?.message).toContain('Postgres answered 57P01: xxx');
  expect(err?.message?.length).toBeLessThan(400);
  await streamer.kill();
  server.close();
});

test('a message before the login that does not end is given up after 16 MiB', async () => {
  const server = createServer((socket) => {
    const chunk = Buffer.alloc(1024 * 1024, 'x');
    const flood = (): void => {
      while (!socket.destroyed && socket.write(chunk));
    };
    socket.on('error', () => undefined);
    socket.on('drain', flood);
    socket.once('data', () => {
      const head = Buffer.from('N\x7f\xff\xff\xff', 'latin1');
      socket.write(head);
      flood();
    });
  });
  const streamer = await streamerOf(server);
  const { err } = await streamer.failure('OUTBOX_PG_UNREACHABLE');
  expect(err?.message).toContain('the server sends more than 16777216 bytes before it lets in');
  await streamer.kill();
  server.close();
});
