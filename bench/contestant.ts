import type { Figures, Role } from './figures.ts';
import { Meter } from './meter.ts';
import type { Shape, Source } from './source.ts';
import type { Warehouse } from './warehouse.ts';
import type { Worker } from './worker.ts';

/** One repetition, prepared before the backlog is committed. */
export interface Turn extends AsyncDisposable {
  measure(): Promise<Figures>;
}

/** A program that catches up with a backlog. */
export interface Contestant {
  readonly name: string;
  /** How it is set up, for readers of the figures. */
  readonly about: string;
  /** A peer that reads `peer.event` instead of the outbox. */
  readonly readsPeerTable?: boolean;
  prepare(source: Source, shape: Shape): Promise<Turn>;
}

interface Race {
  /** The Postgres, if the contestant uses one. */
  readonly source?: Source;
  readonly events: number;
  readonly warehouse: Warehouse;
  /** Resolves when the worker's work has begun. */
  readonly start: () => Promise<Worker>;
  readonly role: Extract<Role, 'streamer' | 'client'>;
  /** The slot that the worker reads. */
  readonly slot?: string;
}

/** Measures from the start of the worker's work until all rows can be queried. */
export async function catchUp({ source, events, warehouse, start, role, slot }: Race): Promise<Figures> {
  using meter = await Meter.begin(source?.pid);
  meter.watch('ClickHouse', warehouse.pid);
  await using worker = await start();
  const began = performance.now();
  meter.watch(role, worker.pid);
  if (source !== undefined && slot !== undefined) meter.watch('walsender', await source.walsender(slot), 'its birth');
  await warehouse.until(events, worker);
  const seconds = (performance.now() - began) / 1000;
  const costs = await meter.read();
  return { events, seconds, ...costs, ...(await warehouse.written()), ...(await warehouse.verify()) };
}

/** A turn that reads a slot of its own, created before the backlog is committed. */
export async function slotTurn(source: Source, measure: (slot: string) => Promise<Figures>): Promise<Turn> {
  const slot = await source.addSlot();
  return {
    measure: async () => measure(slot),
    [Symbol.asyncDispose]: async () => source.dropSlot(slot),
  };
}
