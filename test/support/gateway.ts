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
  /** So many INSERTs more are cut off instead of passed on. */
  losing = 0;
  /** How long the answer to an INSERT is kept. */
  slowMs = 0;
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
    const isInsert = path!.includes('query=INSERT');
    if (isInsert) {
      this.inserts.push(headers);
      if (this.losing > 0) {
        this.losing--;
        request.socket.resetAndDestroy();
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
      else pass();
    });
    onward.on('error', () => response.destroy());
    request.pipe(onward);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }
}
