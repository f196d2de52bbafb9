import { once } from 'node:events';
import {
  createServer,
  request as ask,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type ServerResponse,
} from 'node:http';
import type { AddressInfo } from 'node:net';

/** An HTTP gateway before ClickHouse, which sees the headers of every INSERT, and can lose some or make them slow. */
export class Gateway implements AsyncDisposable {
  readonly inserts: IncomingHttpHeaders[] = [];
  /** The limits, in seconds, that INSERTs were sent with, those of nothing, too. */
  readonly limits = new Set<string | null>();
  /** So many INSERTs more are cut off instead of passed on. */
  losing = 0;
  /** How long the answer to an INSERT is kept. */
  slowMs = 0;
  /** Instead of passing INSERTs on, the gateway answers with this status, and a page of its own. */
  status: number | undefined;
  /** INSERTs with larger bodies are answered with 413, as soon as that is known. */
  maxBodyBytes = Infinity;
  /** Answers to requests whose bodies match are kept until then; how many were. */
  keeping: { readonly matches: RegExp; readonly until: Promise<unknown> } | undefined;
  kept = 0;
  readonly #target: URL;
  readonly #server = createServer((request, response) => this.#pass(request, response));

  private constructor(target: URL) {
    this.#target = target;
  }

  static async to(target: string): Promise<Gateway> {
    const gateway = new Gateway(new URL(target));
    gateway.#server.listen(0, '127.0.0.1');
    await once(gateway.#server, 'listening');
    return gateway;
  }

  /** The target's URL, by this way. */
  get url(): string {
    const { port } = this.#server.address() as AddressInfo;
    return Object.assign(new URL(this.#target), { hostname: '127.0.0.1', port: String(port) }).href;
  }

  #pass(request: IncomingMessage, response: ServerResponse): void {
    const { method, url: path, headers } = request;
    const { hostname, port } = this.#target;
    // of rows: that of nothing, which is tried first, has no name of the streamer's
    const isInsert = path!.includes('query=INSERT') && /query_id=[^&]*%2F/.test(path!);
    if (path!.includes('query=INSERT'))
      this.limits.add(new URL(path!, this.#target).searchParams.get('max_execution_time'));
    if (isInsert) {
      this.inserts.push(headers);
      if (this.losing > 0) {
        this.losing--;
        request.socket.resetAndDestroy();
        return;
      }
      if (this.status !== undefined) {
        refuse(request, response, this.status);
        return;
      }
    }
    const onward = ask({ hostname, port, method, path, headers }, (answer) => {
      const pass = (): void => {
        response.writeHead(answer.statusCode!, answer.headers);
        answer.pipe(response);
      };
      // the fault itself
      if (isInsert && this.slowMs > 0) setTimeout(pass, this.slowMs);
      else if (this.keeping?.matches.test(text) === true) {
        this.kept++;
        void this.keeping.until.then(pass);
      } else pass();
    });
    onward.on('error', () => {
      if (!response.headersSent) response.destroy();
    });
    let text = '';
    let bytes = 0;
    request.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (this.keeping !== undefined) text += chunk.toString('latin1');
      if (bytes <= this.maxBodyBytes || !isInsert || response.headersSent) return;
      onward.destroy();
      refuse(request, response, 413);
    });
    request.pipe(onward);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }
}

/** As a proxy does it: a page of its own, and the rest of the request is thrown away. */
function refuse(request: IncomingMessage, response: ServerResponse, status: number): void {
  request.unpipe();
  request.resume();
  response.writeHead(status, { server: 'gateway/1.0', 'content-type': 'text/html' });
  response.end(
    `<html><head><title>${status}</title></head><body>Code: 42. DB::Exception: not mine. (FAKE)</body></html>`,
  );
}
