import { once } from 'node:events';
import {
  Agent,
  createServer,
  request as ask,
  type ClientRequest,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Answer } from './answers.ts';

/** What becomes of an INSERT that is caught. `late` passes it on after its sender has an answer, or is gone. */
export type Treatment =
  /** Nothing of it reaches the server until it is let go. */
  | { readonly kind: 'hold it' }
  /** A part of it reaches the server, and then nothing more. */
  | { readonly kind: 'hold its rest'; readonly fraction: number }
  /** The server has applied it; the answer is kept until it is let go. */
  | { readonly kind: 'hold its answer' }
  /** The server has applied it; the connection is reset instead of an answer. */
  | { readonly kind: 'lose its answer' }
  /** Another answer than the server's. */
  | {
      readonly kind: 'answer';
      readonly answer: Answer;
      readonly forwarded: 'never' | 'before' | 'late';
      readonly lateMs: number;
    };

/** An INSERT that will be caught, or has been. */
export class Caught {
  readonly treatment: Treatment;
  /** Known once it is where the treatment wants it. */
  token = '';
  /** Its sender still waits for the answer. */
  isAwaited = false;
  readonly #reached = Promise.withResolvers<void>();
  readonly #letGo = Promise.withResolvers<void>();

  constructor(treatment: Treatment) {
    this.treatment = treatment;
  }

  /** Resolves when it is where the treatment wants it. */
  get reached(): Promise<void> {
    return this.#reached.promise;
  }

  get gone(): Promise<void> {
    return this.#letGo.promise;
  }

  reach(token: string): void {
    this.token = token;
    this.#reached.resolve();
  }

  letGo(): void {
    this.#letGo.resolve();
  }
}

/** An HTTP server in front of ClickHouse. Everything passes as it streams; inserts can be caught, in the order they come. */
export class Gate {
  readonly #target: URL;
  readonly #server: Server;
  readonly #agent = new Agent({ keepAlive: false });
  #traps: Caught[] = [];
  /** Inserts that are passed on after their senders have an answer. */
  readonly #late = new Set<Promise<void>>();
  /** INSERTs of rows that came. */
  inserts = 0;
  /** What somebody between the streamer and the server does to every request, also to one that was caught before. */
  alter: ((parameters: URLSearchParams, headers: IncomingHttpHeaders) => void) | undefined;

  private constructor(target: URL) {
    this.#target = target;
    this.#server = createServer({ keepAliveTimeout: 0 }, (request, response) => void this.#take(request, response));
    // a client that goes away is what this is for
    this.#server.on('clientError', (_, socket) => socket.destroy());
  }

  static async to(target: URL): Promise<{ gate: Gate; url: string }> {
    const gate = new Gate(target);
    gate.#server.listen(0, '127.0.0.1');
    await once(gate.#server, 'listening');
    const url = new URL(target);
    url.port = String((gate.#server.address() as AddressInfo).port);
    return { gate, url: url.href };
  }

  /** Catches the next INSERT that no one else waits for. */
  catch(treatment: Treatment): Caught {
    const trap = new Caught(treatment);
    this.#traps.push(trap);
    return trap;
  }

  /** Waits for no INSERT any more. */
  disarm(): void {
    this.#traps = [];
  }

  /** Resolves when all that was to come late has come. */
  async quiet(): Promise<void> {
    await Promise.all(this.#late);
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }

  async #take(request: IncomingMessage, response: ServerResponse): Promise<void> {
    request.on('error', ignore);
    response.on('error', ignore);
    const { searchParams } = new URL(request.url ?? '/', 'http://gate');
    // that of nothing, which is tried first, has no name of the streamer's
    const isInsert =
      searchParams.get('query')?.startsWith('INSERT') === true && searchParams.get('query_id')?.includes('/') === true;
    if (isInsert) this.inserts++;
    const trap = isInsert ? this.#traps.shift() : undefined;
    try {
      if (trap === undefined) await this.#pass(request, response);
      else {
        trap.isAwaited = true;
        response.on('close', () => {
          trap.isAwaited = false;
        });
        const token = searchParams.get('insert_deduplication_token') ?? '';
        await this.#treat(trap, token, request, response);
      }
    } catch {
      // either side has gone: so does the other
      response.destroy();
    }
  }

  async #pass(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const forwarded = this.#forward(request);
    response.on('close', () => {
      if (!response.writableFinished) forwarded.destroy();
    });
    const sent = pipeline(request, forwarded);
    const [answer] = (await Promise.race([once(forwarded, 'response'), sent.then(forever)])) as [IncomingMessage];
    response.writeHead(answer.statusCode!, hopless(answer.headers));
    await pipeline(answer, response);
  }

  async #treat(trap: Caught, token: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { treatment } = trap;
    // whole: what comes later must not depend on its sender
    const body = await buffer(request);
    switch (treatment.kind) {
      case 'hold it': {
        trap.reach(token);
        await trap.gone;
        await reply(response, await this.#send(request, body));
        return;
      }
      case 'hold its rest': {
        const forwarded = this.#forward(request);
        forwarded.write(body.subarray(0, Math.floor(body.length * treatment.fraction)), () => trap.reach(token));
        await once(response, 'close');
        forwarded.destroy();
        return;
      }
      case 'hold its answer': {
        const answer = await this.#send(request, body);
        trap.reach(token);
        await trap.gone;
        await reply(response, answer);
        return;
      }
      case 'lose its answer': {
        await this.#send(request, body);
        trap.reach(token);
        request.socket.resetAndDestroy();
        return;
      }
      case 'answer': {
        if (treatment.forwarded === 'before') await this.#send(request, body);
        await reply(response, treatment.answer);
        trap.reach(token);
        if (treatment.forwarded === 'late') this.#sendLate(request, body, treatment.lateMs);
      }
    }
  }

  #sendLate(request: IncomingMessage, body: Buffer, lateMs: number): void {
    // the fault itself: the insert reaches the server only after its sender has given it up, by a time that is drawn
    const late = sleep(lateMs)
      .then(async () => this.#send(request, body))
      .then(ignore, ignore)
      .finally(() => this.#late.delete(late));
    this.#late.add(late);
  }

  async #send(request: IncomingMessage, body: Buffer): Promise<Answer> {
    const forwarded = this.#forward(request);
    forwarded.end(body);
    const [answer] = (await once(forwarded, 'response')) as [IncomingMessage];
    const text = await buffer(answer);
    return {
      status: answer.statusCode!,
      headers: hopless(answer.headers) as Record<string, string>,
      body: text.toString('latin1'),
    };
  }

  #forward({ method, url, headers: sent }: IncomingMessage): ClientRequest {
    const { hostname: host, port } = this.#target;
    const { pathname, searchParams } = new URL(url ?? '/', 'http://gate');
    const headers = hopless(sent);
    this.alter?.(searchParams, headers);
    const path = `${pathname}?${searchParams.toString()}`;
    const forwarded = ask({ host, port, method, path, headers, agent: this.#agent });
    forwarded.on('error', ignore);
    return forwarded;
  }
}

const ignore = (): void => undefined;

async function forever(): Promise<never> {
  return new Promise(ignore);
}

async function reply(response: ServerResponse, { status, headers, body }: Answer): Promise<void> {
  if (response.destroyed) return;
  response.writeHead(status, headers);
  response.end(Buffer.from(body, 'latin1'));
  await once(response, 'close');
}

/** Without what speaks of one connection alone. */
function hopless(headers: IncomingHttpHeaders): IncomingHttpHeaders {
  const { connection: _, 'keep-alive': __, ...others } = headers;
  return others;
}
