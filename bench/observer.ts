import { once } from 'node:events';
import { createServer, get } from 'node:http';
import type { AddressInfo } from 'node:net';

/** Prometheus scrapes every 15 or 30 seconds. A run takes only seconds, so more frequent scrapes show the cost. */
const SCRAPE_MS = 1000;

/** Observes a streamer with an OTLP collector that accepts everything, and a scraper that reads `/metrics`. */
export class Observer implements Disposable {
  readonly environment: Readonly<Record<string, string>>;
  readonly #close: () => void;

  private constructor(environment: Record<string, string>, close: () => void) {
    this.environment = environment;
    this.#close = close;
  }

  static async start(): Promise<Observer> {
    const collector = createServer((request, response) => {
      request.resume().on('end', () => response.end());
    }).listen(0);
    // reserves a port for the streamer, and frees it a moment later
    const reserved = createServer().listen(0);
    await Promise.all([once(collector, 'listening'), once(reserved, 'listening')]);
    const port = (reserved.address() as AddressInfo).port;
    reserved.close();
    const scrape = setInterval(() => {
      get({ port, path: '/metrics' }, (response) => response.resume()).on('error', () => undefined);
    }, SCRAPE_MS);
    return new Observer(
      {
        OUTBOX_HEALTH_PORT: String(port),
        OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${(collector.address() as AddressInfo).port}`,
      },
      () => {
        clearInterval(scrape);
        collector.closeAllConnections();
        collector.close();
      },
    );
  }

  [Symbol.dispose](): void {
    this.#close();
  }
}
