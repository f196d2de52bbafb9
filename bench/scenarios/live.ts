import { setTimeout as sleep } from 'node:timers/promises';
import type { Figures } from '../figures.ts';
import { Prober } from '../freshness.ts';
import { playing, type Player, type Scale } from '../scenario.ts';
import { Servers } from '../servers.ts';
import { Worker } from '../worker.ts';

/** How an application commits events. */
interface Load {
  /** Events a second. */
  readonly rate: number;
  readonly perTransaction: number;
  readonly connections: number;
}

export const LIVE_10 = '10 events/s';
export const LIVE_10K = '10,000 events/s';

export const LIVE = playing(
  'live load',
  'an application commits events with `emitEvents` at a fixed rate. Freshness is the time from the commit to the first `count()` that includes the event, over all events. The benchmark counts every 10 ms',
  [
    at(LIVE_10, { rate: 10, perTransaction: 1, connections: 1 }),
    at('1,000 events/s', { rate: 1000, perTransaction: 10, connections: 8 }),
    at(LIVE_10K, { rate: 10_000, perTransaction: 10, connections: 8 }),
  ],
);

function at(name: string, load: Load): Player {
  const connections = load.connections === 1 ? 'one connection' : `${load.connections} connections`;
  const isSporadic = load.perTransaction === 1;
  const events = isSporadic ? 'one event' : `${load.perTransaction} events`;
  const note = isSporadic ? '. With so few events, CPU depends on the duration, hardly on the number of events' : '';
  return {
    name,
    about: `the streamer with all defaults, JSON typed; the application commits ${events} a transaction, over ${connections}${note}`,
    play: async (scale) => live(load, scale),
  };
}

async function live({ rate, perTransaction, connections }: Load, { liveSeconds }: Scale): Promise<Figures> {
  await using servers = await Servers.start();
  const { source, warehouse } = servers;
  await using streamer = await servers.stream();
  using meter = await servers.meter(streamer);
  const prober = new Prober(warehouse);
  await using producer = await Worker.start('producer.ts', {
    DATABASE_URL: source.url,
    RATE: String(rate),
    SECONDS: String(liveSeconds),
    PER_TRANSACTION: String(perTransaction),
    CONNECTIONS: String(connections),
  });
  meter.watch('producer', producer.pid);
  const done = await producer.said('done');
  const events = Number(done['events']);
  while (prober.rows < events) await sleep(20);
  const costs = await meter.read();
  const freshness = await prober.end();
  const seconds = Number(done['seconds']);
  const written = await warehouse.written();
  return {
    events,
    seconds,
    ...costs,
    ...written,
    ...(await warehouse.verify()),
    freshness,
    more: { 'inserts per minute': (written.inserts / seconds) * 60, 'commit p99, ms': Number(done['commitP99Ms']) },
  };
}
