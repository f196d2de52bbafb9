import { Source } from './source.ts';
import { Warehouse } from './warehouse.ts';
import { Worker } from './worker.ts';

/** Both servers, and streamers between them. */
export class Servers implements AsyncDisposable {
  readonly source: Source;
  readonly warehouse: Warehouse;

  private constructor(source: Source, warehouse: Warehouse) {
    this.source = source;
    this.warehouse = warehouse;
  }

  static async start(): Promise<Servers> {
    const [source, warehouse] = await Promise.all([Source.start(), Warehouse.start()]);
    return new Servers(source, warehouse);
  }

  /** A streamer of its own process, built; resolves once it holds the slot. */
  async stream(environment: Record<string, string> = {}): Promise<Worker> {
    return Worker.stream({ DATABASE_URL: this.source.url, CLICKHOUSE_URL: this.warehouse.url, ...environment });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.source[Symbol.asyncDispose](), this.warehouse[Symbol.asyncDispose]()]);
  }
}
