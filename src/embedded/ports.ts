import { randomInt } from 'node:crypto';
import { createServer } from 'node:net';

// Below the range from which Linux (32768) and macOS (49152) take ports for outgoing connections: while a server is
// stopped, a client that keeps reconnecting to it could otherwise be given the very port and hold it.
const LOWEST = 15_000;
const HIGHEST = 32_000;
const ATTEMPTS = 20;

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () => server.close(() => resolve(true)));
  });
}

async function freePort(): Promise<number> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const port = randomInt(LOWEST, HIGHEST);
    if (await isFree(port)) return port;
  }
  return randomInt(LOWEST, HIGHEST);
}

/**
 * Starts a server on `wanted`, or on a free port when that is 0. A free port may be taken by another process before the
 * server binds it, so the start is repeated on another one when the server says so.
 */
export async function onFreePort<T>(wanted: number, start: (port: number) => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    const port = wanted === 0 ? await freePort() : wanted;
    try {
      return await start(port);
    } catch (error) {
      const taken = error instanceof Error && error.message.includes('Address already in use');
      if (!taken || wanted !== 0 || attempt === ATTEMPTS) throw error;
    }
  }
}
