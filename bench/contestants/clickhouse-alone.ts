import { rm } from 'node:fs/promises';
import { record } from '../bodies.ts';
import { catchUp, type Contestant } from '../contestant.ts';
import type { Source } from '../source.ts';
import { Warehouse } from '../warehouse.ts';
import { Worker } from '../worker.ts';

/** The bodies of one backlog, recorded once for all contestants that post them. */
class Bodies {
  readonly #source: Source;
  readonly #slot: string;
  readonly #events: number;
  #recorded: Promise<string> | undefined;
  #users = 0;

  constructor(source: Source, slot: string, events: number) {
    this.#source = source;
    this.#slot = slot;
    this.#events = events;
  }

  use(): this {
    this.#users++;
    return this;
  }

  /** The directory that holds them; the first call records them. */
  async directory(): Promise<string> {
    return (this.#recorded ??= record(this.#source, this.#slot, this.#events));
  }

  async release(): Promise<void> {
    if (--this.#users > 0) return;
    bodiesOf.delete(this.#source);
    if (this.#recorded !== undefined) await rm(await this.#recorded, { recursive: true, force: true });
    await this.#source.dropSlot(this.#slot);
  }
}

const bodiesOf = new Map<Source, Bodies>();

export const CLICKHOUSE_JSON = clickhouse('ClickHouse alone (JSON typed)', true);
export const CLICKHOUSE_TEXT = clickhouse('ClickHouse alone (text only)', false);

function clickhouse(name: string, typed: boolean): Contestant {
  return {
    name,
    about:
      'a client sends the bodies that the streamer’s encoder makes of this backlog. It reads them from files, and uses the streamer’s settings and number of parallel inserts',
    prepare: async (source, { events }) => {
      if (!bodiesOf.has(source)) bodiesOf.set(source, new Bodies(source, await source.addSlot(), events));
      const bodies = bodiesOf.get(source)!.use();
      return {
        measure: async () => {
          const directory = await bodies.directory();
          await using warehouse = await Warehouse.start(typed);
          const environment = { CLICKHOUSE_URL: warehouse.url, DIRECTORY: directory };
          const start = async (): Promise<Worker> => Worker.start('poster.ts', environment);
          return await catchUp({ events, warehouse, start, role: 'client' });
        },
        [Symbol.asyncDispose]: async () => bodies.release(),
      };
    },
  };
}
