import { setTimeout as sleep } from 'node:timers/promises';
import type { Figures } from '../figures.ts';
import { Prober } from '../freshness.ts';
import { playing } from '../scenario.ts';
import type { Player, Scale } from '../scenario.ts';
import { Servers } from '../servers.ts';
import { Worker } from '../worker.ts';

const PER_TRANSACTION = 10;
const CONNECTIONS = 8;

export const LIVE_10K = '10,000 events/s';

export const LIVE = playing(
  'live load',
  `an application commits transactions of ${PER_TRANSACTION} events with \`emitEvents\` over ${CONNECTIONS} connections; freshness is from the commit to the first \`count()\` that has the event, asked every 10 ms, of all events`,
  [at('1,000 events/s', 1000), at(LIVE_10K, 10_000)],
);

function at(name: string, rate: number): Player {
  return { name, about: 'the streamer with all defaults, JSON typed', play: async (scale) => live(rate, scale) };
}

async function live(rate: number, { liveSeconds }: Scale): Promise<Figures> {
  await using servers = await Servers.start();
  const { source, warehouse } = servers;
  await using streamer = await servers.stream();
  using meter = await servers.meter(streamer);
  const prober = new Prober(warehouse);
  await using producer = await Worker.start('producer.ts', {
    DATABASE_URL: source.url,
    RATE: String(rate),
    SECONDS: String(liveSeconds),
    PER_TRANSACTION: String(PER_TRANSACTION),
    CONNECTIONS: String(CONNECTIONS),
  });
  meter.watch('producer', producer.pid);
  const done = await producer.said('done');
  const events = Number(done['events']);
  while (prober.rows < events) await sleep(20);
  const costs = await meter.read();
  const freshness = await prober.end();
  return {
    events,
    seconds: Number(done['seconds']),
    ...costs,
    ...(await warehouse.written()),
    ...(await warehouse.verify()),
    freshness,
    more: { 'commit p99, ms': Number(done['commitP99Ms']) },
  };
}
