import { once } from 'node:events';
import { createServer, get, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { json } from 'node:stream/consumers';
import { OutboxError } from '../../errors.ts';
import type { Config } from '../config.ts';
import { ClickHouse } from '../clickhouse/client.ts';
import { mayIdle, WAKE_MS } from '../clickhouse/idling.ts';
import { checkTarget } from '../clickhouse/target.ts';
import { isLoopback } from '../loopback.ts';
import { IdleGate } from '../observe/idle-gate.ts';
import { PeriodicCheck } from '../observe/periodic-check.ts';
import type { Readiness, ReadinessReport } from '../observe/readiness.ts';
import { reasonOf } from '../observe/reason.ts';

const CHECK_TIMEOUT_MS = 3000;
/** Probes and scrapers need a few. Where more are open, the oldest gives way to the next. */
const MAX_CONNECTIONS = 256;
/** A connection serves one request, within this time. */
const CONNECTION_MS = 10_000;
/** Rendering takes some ms of the thread that delivers: who asks more often gets the same text. */
const METRICS_EVERY_MS = 1000;
/** An insert may wait a minute for a server that hangs, and an idle streamer asks ClickHouse nothing: the probe does. */
const PROBE_EVERY_MS = 5000;
const PROBE_TIMEOUT_MS = 1000;

/**
 * Serves `/livez` (the process answers), `/readyz` (it streams, or stands by for another; if not, why) and `/metrics`, for
 * Prometheus. Probes ClickHouse now and then, whether it would take an insert, until `stop` is called.
 *
 * Throws OUTBOX_HEALTH_PORT when it cannot listen.
 */
export async function serveHealth(
  config: Config,
  readiness: Readiness,
  metrics: () => Promise<string>,
): Promise<{ port: number; stop: () => void }> {
  const { healthPort: port, healthHost, clickhouseTable } = config;
  const rendered = atMostEvery(METRICS_EVERY_MS, async () => Buffer.from(await metrics()));
  const connections = new BriefConnections();
  let address = '';
  const server = createServer(({ url, headers, socket }, response) => {
    if (!connections.mayAsk(socket)) return;
    response.shouldKeepAlive = false;
    const answer = (code: number, body: unknown): void => {
      response.writeHead(code, { 'content-type': 'application/json' }).end(`${JSON.stringify(body)}\n`);
    };
    const path = url?.split('?', 1)[0];
    if (!isMeant(address, headers.host)) answer(421, { host: 'not a name of this host' });
    else if (path === '/livez') answer(200, { live: true });
    else if (path === '/readyz') answer(readiness.report.ready ? 200 : 503, readiness.report);
    else if (path === '/metrics') void serveMetrics(response, rendered);
    else answer(404, { paths: ['/livez', '/readyz', '/metrics'] });
  });
  server.on('connection', (socket) => connections.opened(socket));
  server.listen(port, ...(healthHost === '*' ? [] : [healthHost]));
  try {
    await once(server, 'listening');
    // whatever the setting calls it
    ({ address } = server.address() as AddressInfo);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown error';
    throw new OutboxError('OUTBOX_HEALTH_PORT', { detail: `cannot listen on port ${port}: ${code}` });
  }
  // a connection that cannot be accepted (EMFILE) is lost to who asks, and to nobody else
  server.on('error', () => undefined);
  // what is asked here must not keep the process alive
  server.unref();
  // one that wakes is not at fault
  const clickhouse = new ClickHouse(config, mayIdle(config) ? WAKE_MS : PROBE_TIMEOUT_MS);
  const gate = mayIdle(config) ? new IdleGate(() => readiness.isClickHouseAwaited) : undefined;
  const probe = new PeriodicCheck(
    PROBE_EVERY_MS,
    async () => {
      if (gate?.isOpen === false) return;
      await checkTarget(clickhouse, clickhouseTable);
      readiness.clickhouseProbed(undefined);
    },
    (error) => readiness.clickhouseProbed(reasonOf(error)),
  );
  void probe.run();
  return {
    port: (server.address() as AddressInfo).port,
    stop: () => {
      probe.stop();
      server.close();
    },
  };
}

/**
 * Whether a request names this host, where only this host can reach the port: a web page that an operator looks at may have let its
 * own name point here (DNS rebinding). Elsewhere probes and scrapers use whatever names there are.
 */
function isMeant(address: string, name: string | undefined): boolean {
  return !isLoopback(address) || name === undefined || isLoopback(URL.parse(`http://${name}`)?.hostname ?? '');
}

/** Nobody holds the port for long, and no number of those who try keeps others out. */
class BriefConnections {
  /** In the order in which they were opened, and whether each has asked. */
  readonly #open = new Map<Socket, boolean>();

  opened(socket: Socket): void {
    const [oldest] = this.#open.keys();
    if (this.#open.size >= MAX_CONNECTIONS) oldest?.destroy();
    this.#open.set(socket, false);
    const timer = setTimeout(() => socket.destroy(), CONNECTION_MS).unref();
    socket.once('close', () => {
      clearTimeout(timer);
      this.#open.delete(socket);
    });
  }

  /** Requests that follow the first on a connection would be answered faster than anybody reads. */
  mayAsk(socket: Socket): boolean {
    if (this.#open.get(socket) !== false) {
      socket.destroy();
      return false;
    }
    this.#open.set(socket, true);
    return true;
  }
}

/** The same answer for all who ask within a time; a failure is asked again. */
function atMostEvery<T>(ms: number, ask: () => Promise<T>): () => Promise<T> {
  let answer: Promise<T> | undefined;
  let askedAt = 0;
  return async () => {
    if (answer === undefined || performance.now() - askedAt > ms) {
      askedAt = performance.now();
      answer = ask();
      answer.catch(() => (answer = undefined));
    }
    return answer;
  };
}

async function serveMetrics(response: ServerResponse, metrics: () => Promise<Buffer>): Promise<void> {
  try {
    const text = await metrics();
    response.writeHead(200, { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' }).end(text);
  } catch {
    // the process stops
    response.writeHead(503).end();
  }
}

/** Asks the streamer of this host whether it is ready; undefined when it does not answer. */
export async function askHealth(port: number, host = '127.0.0.1'): Promise<ReadinessReport | undefined> {
  try {
    // fetch refuses a number of ports that are as good as any
    const request = get({ host, port, path: '/readyz', timeout: CHECK_TIMEOUT_MS });
    request.on('timeout', () => request.destroy());
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    return (await json(response)) as ReadinessReport;
  } catch {
    return undefined;
  }
}
