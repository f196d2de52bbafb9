import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { OutboxError, type ErrorCode } from '../../../errors.ts';
import { loadAssets, type Asset } from './assets.ts';
import { Guard, Refusal, type Asked } from './guard.ts';
import { withinLimits } from './limits.ts';
import { Routes, type ConsoleOptions, type Route } from './routes.ts';
import { failureOf } from './told.ts';

const MAX_CONNECTIONS = 256;
const MAX_BODY_BYTES = 512 * 1024;
const REQUEST_MS = 30_000;
const HEADERS_MS = 10_000;

/** The page has everything in files of its own, and nothing of an event is ever read as markup. */
const HEADERS: Readonly<Record<string, string>> = {
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'permissions-policy': 'camera=(), geolocation=(), microphone=()',
};
const STATUS: Partial<Record<ErrorCode, number>> = { OUTBOX_CONSOLE_LIMIT: 422, OUTBOX_CONSOLE_BUSY: 409 };

/** A console that listens. */
export interface Console {
  readonly url: string;
  close(): Promise<void>;
}

/** Serves the page and what it asks. Throws OUTBOX_CONSOLE_PORT when it cannot listen. */
export async function serveConsole(options: ConsoleOptions): Promise<Console> {
  const { consoleHost: host, consolePort: port, consoleToken } = options.settings;
  const assets = loadAssets();
  const guard = new Guard(host, consoleToken);
  const server = createServer({ requestTimeout: REQUEST_MS, headersTimeout: HEADERS_MS }, (request, response) => {
    void answer(request, response);
  });
  server.maxConnections = MAX_CONNECTIONS;
  server.listen(port, ...(host === '*' ? [] : [host]));
  try {
    await once(server, 'listening');
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown error';
    throw new OutboxError('OUTBOX_CONSOLE_PORT', { detail: `cannot listen on ${host}, port ${port}: ${code}` });
  }
  // a connection that cannot be accepted is lost to who asks, and to nobody else
  server.on('error', () => undefined);
  const routes = new Routes(options);
  const { table } = routes;

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const gone = new AbortController();
    response.on('close', () => gone.abort());
    for (const [name, value] of Object.entries(HEADERS)) response.setHeader(name, value);
    const asked = askedBy(request);
    try {
      guard.checkHost(asked);
      const url = URL.parse(request.url ?? '', 'http://console');
      const route = url === null ? undefined : ownRoute(table, `${request.method} ${url.pathname}`);
      if (url !== null && route !== undefined) {
        guard.checkReader(asked);
        const body = request.method === 'POST' ? await bodyOf(request) : undefined;
        sendJson(
          response,
          200,
          await route({ query: url.searchParams, body, signal: gone.signal, address: asked.address }),
        );
        return;
      }
      const asset = request.method === 'GET' ? assets.get(url?.pathname ?? '') : undefined;
      if (asset === undefined) throw new Refusal(404, 'OUTBOX_CONSOLE_REQUEST', 'nothing is at this address');
      sendAsset(request, response, asset);
    } catch (error) {
      if (gone.signal.aborted) return;
      refuse(asked, response, withinLimits(error));
    }
  }

  function refuse({ address, authorization }: Asked, response: ServerResponse, error: unknown): void {
    if (error instanceof Refusal && error.status === 401 && authorization !== undefined)
      options.log.warn({ address }, 'a wrong token was given to the console');
    if (!(error instanceof OutboxError)) options.log.error({ err: error }, 'the console failed to answer');
    const status =
      error instanceof Refusal ? error.status : error instanceof OutboxError ? (STATUS[error.code] ?? 503) : 500;
    // what is left of a body is not read
    response.shouldKeepAlive = false;
    sendJson(response, status, failureOf(options.config.schema, error));
  }

  return {
    url: `http://${host === '*' ? 'localhost' : host.includes(':') ? `[${host}]` : host}:${(server.address() as AddressInfo).port}/`,
    close: async () => {
      server.close();
      server.closeAllConnections();
      await routes.close();
    },
  };
}

function ownRoute(table: Readonly<Record<string, Route>>, name: string): Route | undefined {
  return Object.hasOwn(table, name) ? table[name] : undefined;
}

function askedBy({ method = '', headers, socket }: IncomingMessage): Asked {
  const site = headers['sec-fetch-site'];
  return {
    method,
    host: headers.host,
    origin: headers.origin,
    site: typeof site === 'string' ? site : undefined,
    authorization: headers.authorization,
    address: socket.remoteAddress ?? '',
  };
}

async function bodyOf(request: IncomingMessage): Promise<unknown> {
  if (!/^application\/json\b/.test(request.headers['content-type'] ?? ''))
    throw new Refusal(415, 'OUTBOX_CONSOLE_REQUEST', 'the request is not JSON');
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > MAX_BODY_BYTES)
      throw new Refusal(413, 'OUTBOX_CONSOLE_REQUEST', `the request has more than ${MAX_BODY_BYTES} bytes`);
    chunks.push(chunk);
  }
  try {
    return JSON.parse(Buffer.concat(chunks).toString('utf8')) as unknown;
  } catch {
    throw new Refusal(400, 'OUTBOX_CONSOLE_REQUEST', 'the request is not JSON');
  }
}

function sendJson(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json; charset=utf-8', 'cache-control': 'no-store' });
  response.end(JSON.stringify(body));
}

function sendAsset({ headers }: IncomingMessage, response: ServerResponse, asset: Asset): void {
  const { type, plain, zipped, etag, isForEver } = asset;
  response.setHeader('etag', etag);
  response.setHeader('vary', 'accept-encoding');
  response.setHeader('cache-control', isForEver ? 'public, max-age=31536000, immutable' : 'no-cache');
  if (headers['if-none-match'] === etag) {
    response.writeHead(304).end();
    return;
  }
  const mayZip = /\bgzip\b/.test(headers['accept-encoding'] ?? '');
  response.writeHead(200, { 'content-type': type, ...(mayZip ? { 'content-encoding': 'gzip' } : {}) });
  response.end(mayZip ? zipped : plain);
}
