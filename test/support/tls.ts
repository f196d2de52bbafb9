import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { connect, type AddressInfo, type Socket } from 'node:net';
import { createServer, type Server } from 'node:tls';
import type { Certificate } from './certificates.ts';

/** Ends TLS in front of a server that has none, on 127.0.0.1. */
export class TlsTerminator implements AsyncDisposable {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(server: Server, target: URL) {
    this.#server = server;
    server.on('secureConnection', (client) => {
      const onward = connect(Number(target.port), target.hostname);
      for (const socket of [client, onward]) {
        this.#sockets.add(socket);
        socket.on('error', () => undefined);
        socket.on('close', () => {
          client.destroy();
          onward.destroy();
          this.#sockets.delete(socket);
        });
      }
      client.pipe(onward).pipe(client);
    });
  }

  /** @param clients whose authority must have signed the certificate of each client */
  static async to(target: URL, { cert, key }: Certificate, clients?: Certificate): Promise<TlsTerminator> {
    const server = createServer({
      cert: await readFile(cert),
      key: await readFile(key),
      ...(clients && { ca: await readFile(clients.cert), requestCert: true, rejectUnauthorized: true }),
    });
    server.on('tlsClientError', () => undefined);
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new TlsTerminator(server, target);
  }

  /** The target's URL, by way of TLS. */
  url(target: string): string {
    const url = new URL(target.replace(/^http:/, 'https:'));
    url.port = String((this.#server.address() as AddressInfo).port);
    return url.href;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, 'close');
  }
}
