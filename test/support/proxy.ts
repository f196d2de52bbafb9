import { createServer, connect, type AddressInfo, type Server, type Socket } from 'node:net';
import { once } from 'node:events';
import { Flow } from './flow.ts';

const HOST = '127.0.0.1';
/** How much of a connection's requests is kept to know it by. */
const GREETING_BYTES = 4096;

/** What the server says next on a connection, whose client has begun by saying `requests` (latin1), as it is to be passed on. */
export type Answers = (chunk: Buffer, requests: string) => Buffer;

/** Tells connections apart by the first bytes that their clients sent. */
export type Matches = (greeting: Buffer) => boolean;

/** Of Postgres: the connection that streams, not the one for statements. */
export const isReplication: Matches = (greeting) => greeting.includes('replication\0database\0');

interface Connection {
  readonly requests: Flow;
  readonly answers: Flow;
  greeting: Buffer;
  /** Bytes that reached the server. */
  sent: number;
  /** What it carries now is an INSERT of events. */
  inserts: boolean;
  /** Neither half is told of the other's end. */
  severed: boolean;
}

/** A TCP proxy that can hold what passes, slow it down, lose it and cut it: real faults on real connections. */
export class Proxy {
  #target: URL;
  #server: Server | undefined;
  #port = 0;
  readonly #connections = new Set<Connection>();
  #holdsRequests = false;
  /** Answers on a connection are held once it has carried so many bytes of requests. */
  #answerLimit = Infinity;
  #holdsInserts = false;
  /** Bytes that came from clients while requests were not held. */
  requestBytes = 0;
  /** Sees, and may change, every answer. */
  answers: Answers | undefined;
  /** Once so many further bytes of INSERTs of events have passed to the server, requests are held. */
  #allowance = Infinity;
  #isolates = false;
  #bytesPerSecond = Infinity;
  #cutsAfter: { readonly way: 'requests' | 'answers'; bytes: number; readonly done: () => void } | undefined;

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

  /** Nothing more reaches the server, after `bytes` more of INSERTs of events. */
  holdRequests(bytes = 0): void {
    this.#allowance = bytes;
    this.#holdsRequests = bytes === 0;
    if (bytes === 0) for (const { requests } of this.#connections) requests.hold();
  }

  /** Nothing more reaches the server on the connections there are that match. */
  holdRequestsOf(matches: Matches): void {
    for (const { greeting, requests } of this.#connections) if (matches(greeting)) requests.hold();
  }

  /** No answer reaches a client any more, on connections that carry more than `requestBytes` to the server. */
  holdAnswers(requestBytes = -1): void {
    this.#answerLimit = requestBytes;
    for (const { answers, sent } of this.#connections) if (sent > requestBytes) answers.hold();
  }

  /** No answer to an INSERT of events that comes from now on reaches a client, nor what follows it on its connection. */
  holdAnswersToInserts(): void {
    this.#holdsInserts = true;
  }

  /** Half-open: nothing passes, and no end of a connection is told to its other half. `cut` ends it. */
  isolate(): void {
    this.#isolates = true;
    for (const connection of this.#connections) sever(connection);
  }

  /** The server loses its half of the connections there are that match; the clients hear nothing of it. */
  loseServers(matches: Matches = () => true): void {
    for (const connection of this.#connections) {
      if (!matches(connection.greeting)) continue;
      sever(connection);
      connection.answers.from.resetAndDestroy();
    }
  }

  /** Everything passes slowly, each way of each connection by itself. */
  drip(bytesPerSecond: number): void {
    this.#bytesPerSecond = bytesPerSecond;
  }

  /** Resets every connection in the middle of what passes, after so many bytes more. Resolves when it has happened. */
  async cutAfter(bytes: number, way: 'requests' | 'answers'): Promise<void> {
    await new Promise<void>((done) => {
      this.#cutsAfter = { way, bytes, done };
    });
  }

  /** Everything passes again, on all connections that still have both halves. */
  release(): void {
    this.#allowance = Infinity;
    this.#holdsRequests = false;
    this.#answerLimit = Infinity;
    this.#holdsInserts = false;
    this.#isolates = false;
    this.#bytesPerSecond = Infinity;
    this.#cutsAfter = undefined;
    for (const connection of this.#connections) {
      if (connection.severed) continue;
      connection.requests.release();
      connection.answers.release();
    }
  }

  /** New connections go to another server, as behind a name that follows a failover. */
  retarget(target: URL): void {
    this.#target = target;
  }

  /** Resets every connection. */
  cut(): void {
    for (const { requests, answers } of this.#connections) {
      requests.from.resetAndDestroy();
      answers.from.resetAndDestroy();
    }
    this.#connections.clear();
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
    const connection: Connection = {
      requests: new Flow(client, server),
      answers: new Flow(server, client),
      greeting: Buffer.alloc(0),
      sent: 0,
      inserts: false,
      severed: false,
    };
    this.#connections.add(connection);
    const end = (): void => {
      if (connection.severed && !(client.destroyed && server.destroyed)) return;
      this.#connections.delete(connection);
      client.destroy();
      server.destroy();
    };
    for (const socket of [client, server]) socket.on('error', end).on('close', end);
    client.on('data', (chunk: Buffer) => this.#request(connection, chunk));
    server.on('data', (chunk: Buffer) => {
      const answer = this.answers?.(chunk, connection.greeting.toString('latin1')) ?? chunk;
      connection.answers.pass(this.#upToCut('answers', connection, answer), this.#bytesPerSecond);
    });
    if (this.#isolates) sever(connection);
    if (this.#holdsRequests) connection.requests.hold();
    if (this.#answerLimit < 0) connection.answers.hold();
  }

  #request(connection: Connection, chunk: Buffer): void {
    if (chunk.includes('POST /')) connection.inserts = isInsert(chunk);
    const allowance = connection.inserts ? this.#allowance : Infinity;
    const passed = this.#upToCut('requests', connection, chunk.subarray(0, afterHead(chunk, allowance)));
    const known = connection.greeting.length;
    if (known < GREETING_BYTES)
      connection.greeting = Buffer.concat([connection.greeting, passed.subarray(0, GREETING_BYTES - known)]);
    this.requestBytes += passed.length;
    connection.sent += passed.length;
    if (connection.sent > this.#answerLimit || (this.#holdsInserts && isInsert(chunk))) connection.answers.hold();
    if (connection.inserts) this.#allowance = Math.max(0, this.#allowance - passed.length);
    connection.requests.pass(passed, this.#bytesPerSecond);
    if (this.#allowance === 0) {
      this.#holdsRequests = true;
      // what is held is never sent: whoever waits for it gives up
      for (const { requests } of this.#connections) requests.hold();
    }
  }

  #upToCut(way: 'requests' | 'answers', connection: Connection, chunk: Buffer): Buffer {
    const cut = this.#cutsAfter;
    if (cut?.way !== way) return chunk;
    const passed = chunk.subarray(0, afterHead(chunk, cut.bytes));
    cut.bytes -= chunk.length;
    if (cut.bytes > 0) return passed;
    this.#cutsAfter = undefined;
    // nothing may pass behind what is missing
    sever(connection);
    // once what has passed is out
    setImmediate(() => {
      this.cut();
      cut.done();
    });
    return passed;
  }
}

/** An INSERT of events; one of nothing, by which the streamer tries its rights, has a token without a source. */
function isInsert(chunk: Buffer): boolean {
  return chunk.includes('query=INSERT') && /insert_deduplication_token=[^& ]*%2F/.test(chunk.toString('latin1'));
}

/** Where to cut a chunk at or behind an offset: not inside the head of a request, at which the embedded ClickHouse dies. */
function afterHead(chunk: Buffer, offset: number): number {
  if (offset >= chunk.length) return offset;
  const head = chunk.lastIndexOf('POST /', offset);
  const end = head < 0 ? -1 : chunk.indexOf('\r\n\r\n', head) + 4;
  return end > offset ? end : offset;
}

function sever(connection: Connection): void {
  connection.severed = true;
  connection.requests.hold();
  connection.answers.hold();
}
