import { createServer, connect } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';
import { once } from 'node:events';

const HOST = '127.0.0.1';
/** How much of a connection's requests is kept to know it by. */
const KNOWN_BY_BYTES = 4096;

/** What the server says next on a connection, whose client has begun by saying `requests` (latin1), as it is to be passed on. */
export type Answers = (chunk: Buffer, requests: string) => Buffer;

/** A TCP proxy that can hold what passes, and cut what it carries: real faults on real connections. */
export class Proxy {
  readonly #target: URL;
  #server: Server | undefined;
  #port = 0;
  readonly #pairs = new Set<{ client: Socket; server: Socket; sent: number; requests: string }>();
  #holdsRequests = false;
  /** Answers on a connection are held once it has carried so many bytes of requests. */
  #answerLimit = Infinity;
  /** Bytes that came from clients while requests were not held. */
  requestBytes = 0;
  /** Sees, and may change, every answer. */
  answers: Answers | undefined;
  /** Once so many further bytes have passed to the server, requests are held. */
  #allowance = Infinity;

  private constructor(target: URL) {
    this.#target = target;
  }

  /** Listens on a free port and connects each client to `target`. */
  static async to(target: URL): Promise<{ proxy: Proxy; url: string }> {
    const proxy = new Proxy(target);
    await proxy.listen();
    const url = new URL(target);
    url.hostname = HOST;
    url.port = String(proxy.#port);
    return { proxy, url: url.href };
  }

  /** Listens, again on the same port when it was closed. */
  async listen(): Promise<void> {
    const server = createServer((client) =>
      this.#carry(client, connect(Number(this.#target.port), this.#target.hostname)),
    );
    server.listen(this.#port, HOST);
    await once(server, 'listening');
    this.#port = (server.address() as AddressInfo).port;
    this.#server = server;
  }

  get isHolding(): boolean {
    return this.#holdsRequests;
  }

  /** Nothing more reaches the server, after `bytes` more. */
  holdRequests(bytes = 0): void {
    this.#allowance = bytes;
    this.#holdsRequests = bytes === 0;
    if (bytes === 0) for (const { client } of this.#pairs) client.pause();
  }

  /** No answer reaches a client any more, on connections that carry more than `requestBytes` to the server. */
  holdAnswers(requestBytes = -1): void {
    this.#answerLimit = requestBytes;
    for (const { server, sent } of this.#pairs) if (sent > requestBytes) server.pause();
  }

  /** Everything passes again. */
  release(): void {
    this.#allowance = Infinity;
    this.#holdsRequests = false;
    this.#answerLimit = Infinity;
    for (const { client, server } of this.#pairs) {
      client.resume();
      server.resume();
    }
  }

  /** Resets every connection. */
  cut(): void {
    for (const { client, server } of this.#pairs) {
      client.resetAndDestroy();
      server.resetAndDestroy();
    }
  }

  async close(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    this.cut();
    if (server === undefined) return;
    server.close();
    await once(server, 'close');
  }

  #carry(client: Socket, server: Socket): void {
    const pair = { client, server, sent: 0, requests: '' };
    this.#pairs.add(pair);
    const end = (): void => {
      this.#pairs.delete(pair);
      client.destroy();
      server.destroy();
    };
    for (const socket of [client, server]) socket.on('error', end).on('close', end);
    client.on('data', (chunk: Buffer) => {
      const passed = chunk.subarray(0, this.#allowance);
      this.requestBytes += passed.length;
      pair.sent += passed.length;
      pair.requests += passed.toString('latin1', 0, KNOWN_BY_BYTES - pair.requests.length);
      if (pair.sent > this.#answerLimit) server.pause();
      this.#allowance -= passed.length;
      if (this.#allowance === 0) {
        this.#holdsRequests = true;
        client.pause();
        // what is held is never sent: whoever waits for it gives up
      }
      if (passed.length > 0) server.write(passed);
    });
    server.on('data', (chunk: Buffer) => client.write(this.answers?.(chunk, pair.requests) ?? chunk));
    if (this.#holdsRequests) client.pause();
    if (this.#answerLimit < 0) server.pause();
  }
}
