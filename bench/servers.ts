import { Meter } from './meter.ts';
import { Source } from './source.ts';
import { Warehouse } from './warehouse.ts';
import { Worker } from './worker.ts';

/** Both servers, and the streamers between them. */
export class Servers implements AsyncDisposable {
  readonly source: Source;
  readonly warehouse: Warehouse;

  private constructor(source: Source, warehouse: Warehouse) {
    this.source = source;
    this.warehouse = warehouse;
  }

  /** @param typed whether the table types the JSON, or has only the text */
  static async start(typed = true): Promise<Servers> {
    const [source, warehouse] = await Promise.all([Source.start(), Warehouse.start(typed)]);
    return new Servers(source, warehouse);
  }

  /** Starts the built streamer as a process of its own; resolves when it holds the slot. */
  async stream(environment: Record<string, string> = {}): Promise<Worker> {
    return Worker.stream({ DATABASE_URL: this.source.url, CLICKHOUSE_URL: this.warehouse.url, ...environment });
  }

  /** Measures what the servers and the streamer use from now on. */
  async meter(streamer: Worker): Promise<Meter> {
    const walsender = await this.source.walsender('outbox');
    const meter = await Meter.begin(this.source.pid);
    meter.watch('ClickHouse', this.warehouse.pid);
    meter.watch('streamer', streamer.pid);
    meter.watch('walsender', walsender);
    return meter;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.source[Symbol.asyncDispose](), this.warehouse[Symbol.asyncDispose]()]);
  }
}
