import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { request } from 'node:http';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { CHILD_ENVIRONMENT } from './child-environment.ts';
import type { Outbox } from './outbox.ts';
import type { LogLine } from './streamer.ts';

const CLI = new URL('../../src/streamer/commands/cli.ts', import.meta.url).pathname;

export const TOKEN = 'a-token-of-the-tests';

export interface Response {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: string;
}

export interface Asking {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: unknown;
  /** The address of this host that asks. */
  readonly from?: string;
}

/** The console as operators run it: a process of its own, configured by its environment. */
export class ConsoleProcess implements AsyncDisposable {
  readonly url: string;
  readonly logs: LogLine[];
  readonly #child: ChildProcess;
  readonly #exit: Promise<unknown>;

  private constructor(url: string, logs: LogLine[], child: ChildProcess, exit: Promise<unknown>) {
    this.url = url;
    this.logs = logs;
    this.#child = child;
    this.#exit = exit;
  }

  static async start(
    outbox: Pick<Outbox, 'databaseUrl' | 'clickhouseUrl' | 'slot'>,
    environment: Record<string, string> = {},
  ): Promise<ConsoleProcess> {
    const child = spawn(process.execPath, [CLI, 'console'], {
      env: {
        ...CHILD_ENVIRONMENT,
        DATABASE_URL: outbox.databaseUrl,
        CLICKHOUSE_URL: outbox.clickhouseUrl,
        OUTBOX_SLOT: outbox.slot,
        OUTBOX_CONSOLE_PORT: '0',
        ...environment,
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const exit = once(child, 'exit');
    const errors = text(child.stderr);
    const logs: LogLine[] = [];
    const url = await new Promise<string>((resolve, reject) => {
      void errors.then((said) => reject(new Error(`the console ended: ${said}`)));
      createInterface(child.stdout).on('line', (line) => {
        const said = JSON.parse(line) as LogLine;
        logs.push(said);
        if (said.msg === 'the console listens') resolve(String(said['url']));
      });
    });
    return new ConsoleProcess(url, logs, child, exit);
  }

  /** With headers that no browser would let a page set. */
  async ask(path: string, { method = 'GET', headers = {}, body, from }: Asking = {}): Promise<Response> {
    const asking = request(new URL(path, this.url), {
      method,
      headers: { ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
      agent: false,
      ...(from === undefined ? {} : { localAddress: from }),
    });
    asking.end(body === undefined ? undefined : JSON.stringify(body));
    const [response] = (await once(asking, 'response')) as [import('node:http').IncomingMessage];
    return { status: response.statusCode ?? 0, headers: response.headers, body: await text(response) };
  }

  /** As the page asks it, with the token; throws for what is not answered. */
  async get<T>(path: string): Promise<T> {
    const { status, body } = await this.ask(path, { headers: { authorization: `Bearer ${TOKEN}` } });
    if (status !== 200) throw new Error(`${path}: ${status} ${body}`);
    return JSON.parse(body) as T;
  }

  get pid(): number {
    return this.#child.pid!;
  }

  async kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#exit;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }
}
