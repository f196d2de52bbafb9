import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import type { Figures } from '../figures.ts';
import { Prober } from '../freshness.ts';
import { playing, type Scale } from '../scenario.ts';
import { Servers } from '../servers.ts';
import type { Source } from '../source.ts';

const RATES = [10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 120, 140, 160].map((thousands) => thousands * 1000);
const PER_TRANSACTION = 100;
/** They share the rate, so that one session's commit does not delay another's. */
const SESSIONS = 4;
/** How many times a second each session commits what is due. */
const TURNS_PER_SECOND = 5;
/** A rate holds if the producers reach this share of it, and at most this many seconds of it wait at the end. */
const KEPT = 0.98;
const WAITING_SECONDS = 2.5;

export const SUSTAINED = playing(
  'highest sustained rate',
  `${SESSIONS} sessions of Postgres generate the events themselves (${PER_TRANSACTION} a transaction, each flushed), so that producing them costs little. The rate grows until more than ${WAITING_SECONDS} s of events wait at the end of a step, or until the producers fall behind. The figures are those of the last rate that held, or of the first rate if none held`,
  [
    { name: 'JSON typed', about: 'the streamer with all defaults', play: async (scale) => climb(true, scale) },
    { name: 'text only', about: 'the same without `event_context`', play: async (scale) => climb(false, scale) },
  ],
  1,
);

interface Step {
  readonly figures: Figures;
  readonly producedPerSecond: number;
  readonly waitingSeconds: number;
}

async function climb(typed: boolean, { stepSeconds }: Scale): Promise<Figures> {
  let best: Figures | undefined;
  let held = 0;
  for (const rate of RATES) {
    const { figures, producedPerSecond, waitingSeconds } = await step(rate, typed, stepSeconds);
    const isKept = producedPerSecond >= rate * KEPT;
    if (isKept && waitingSeconds <= WAITING_SECONDS) {
      best = figures;
      held++;
      continue;
    }
    const more = {
      'next rate, events/s': rate,
      'of it produced, events/s': Math.round(producedPerSecond),
      'of it waiting in the end, s': waitingSeconds,
    };
    return { ...(best ?? figures), more: { ...more, 'rates that held': held } };
  }
  return { ...best!, more: { 'rates that held': held } };
}

async function step(rate: number, typed: boolean, seconds: number): Promise<Step> {
  await using servers = await Servers.start(typed);
  const { source, warehouse } = servers;
  await using streamer = await servers.stream();
  using meter = await servers.meter(streamer);
  const prober = new Prober(warehouse);
  const producers = await Promise.all(
    Array.from({ length: SESSIONS }, async () => {
      const db = new Client(source.url);
      await db.connect();
      const { rows } = await db.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
      meter.watch('producer', rows[0]!.pid);
      return db;
    }),
  );
  const began = performance.now();
  const events = rate * seconds;
  await Promise.all(producers.map(async (db) => produce(source, db, rate / SESSIONS, seconds)));
  const took = Math.max(seconds, (performance.now() - began) / 1000);
  const waitingSeconds = (events - prober.rows) / rate;
  await warehouse.until(events, streamer, async () => prober.rows);
  const costs = await meter.read();
  const freshness = await prober.end();
  await Promise.all(producers.map(async (db) => db.end()));
  const figures = {
    events,
    seconds: took,
    ...costs,
    ...(await warehouse.written()),
    ...(await warehouse.verify()),
    freshness,
  };
  return { figures, producedPerSecond: events / took, waitingSeconds };
}

/** Commits at the start of each turn what is due in it. Late turns follow each other without a pause. */
async function produce(source: Source, db: Client, rate: number, seconds: number): Promise<void> {
  const began = performance.now();
  const transactions = Math.round(rate / TURNS_PER_SECOND / PER_TRANSACTION);
  for (let turn = 0; turn < seconds * TURNS_PER_SECOND; turn++) {
    const early = began + (turn * 1000) / TURNS_PER_SECOND - performance.now();
    if (early > 0) await sleep(early);
    await source.commit(transactions, PER_TRANSACTION, 300, 'outbox.event', db);
  }
}
